"""Runs side by side: rows, order, spread, tests of a difference, and series of seeds."""

import json
import math
import statistics
from pathlib import Path

import pytest
import yaml
from scipy import stats
from terminal import Terminal

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.reports.compare import compare
from lit_opt.engine.reports.compared_runs import newest_runs, run_at
from lit_opt.engine.reports.seed_groups import grouped
from lit_opt.engine.reports.significance import difference

LR = {"seed_everything": 1, "model": {"lr": 0.1, "net": {"class_path": "a.B", "init_args": {}}}}


def made(name: str, scores: dict[str, float | None], seed: int = 1, **options: object) -> Path:
    """A finished run's folder."""
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    config = {**LR, "seed_everything": seed, "model": {**LR["model"], **options}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.json").write_text(json.dumps(scores))
    (folder / ".finished").write_text("{}")
    (folder / "metrics.csv").write_text(f"step,epoch,val/loss\n9,0,{scores.get('val/loss', '')}\n")
    return folder


def rows(text: str) -> list[list[str]]:
    return [line.split("  ")[0].split() for line in text.splitlines()[1:]]


FIRST = {"1": 0.91, "2": 0.93, "3": 0.92, "4": 0.95}
SECOND = {"1": 0.90, "2": 0.90, "3": 0.91, "4": 0.92}


def test_runs_of_one_configuration_are_one_row_best_validation_first(capsys):
    for seed, acc in enumerate(FIRST.values(), start=1):
        made(f"a-seed{seed}", {"val/loss": 1 - acc, "test/acc": 0.5}, seed)
        made(f"b-seed{seed}", {"val/loss": 2 - acc, "test/acc": 0.9}, seed, lr=0.2)
    compare(["--all"])
    header, first, second, note, page = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "n", "val/loss", "lr", "test/acc"]
    losses = [1 - acc for acc in FIRST.values()]
    mean, spread = statistics.mean(losses), statistics.stdev(losses)
    assert first.split()[:6] == ["a", "4", f"{mean:.4f}", "±", f"{spread:.4f}", "0.1"]
    assert second.split()[:2] == ["b", "4"]
    assert note.startswith("sorted by val/loss (low is good)")
    assert page == "page: runs/compare.html"
    compare(["--all", "--sort", "test/acc"])
    assert capsys.readouterr().out.splitlines()[1].startswith("b ")


def test_what_has_no_score_is_told_and_not_averaged(capsys):
    made("whole", {"val/loss": 0.5})
    made("nan", {"val/loss": None}, 2)
    killed = made("killed", {"val/loss": 0.4}, 3)
    (killed / ".finished").unlink()
    (killed / "metrics.json").write_text("{")
    compare(["--all"])
    told = capsys.readouterr().out
    assert told.splitlines()[1].split()[:3] == ["whole", "1", "0.5000"]
    assert "not counted: runs/nan" in told
    assert "not counted: runs/killed (killed, or still at work)" in told


def test_a_repeated_seed_is_not_averaged_with_itself():
    for name in ("one", "two"):
        made(name, {"val/loss": 0.5})
    assert len(grouped(newest_runs(None))) == 2


def test_the_metric_of_each_module_and_its_direction(capsys):
    ended = [{"ended": {"why": "finished", "monitor": "val_f1", "mode": "max"}}]
    for name, f1 in (("low", 0.1), ("high", 0.9)):
        folder = made(name, {"val_f1": f1}, lr=f1)
        (folder / "environment.json").write_text(json.dumps(ended))
    compare(["--last", "2"])
    assert [row[0] for row in rows(capsys.readouterr().out)[:2]] == ["high", "low"]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (SECOND, stats.ttest_rel([*FIRST.values()], [*SECOND.values()])),
        (
            {f"1{seed}": acc for seed, acc in SECOND.items()},
            stats.ttest_ind([*FIRST.values()], [*SECOND.values()], equal_var=False),
        ),
    ],
    ids=["paired", "Welch"],
)
def test_the_difference_is_scipys(second, expected):
    found = difference(FIRST, second)
    assert not isinstance(found, str)
    interval = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == (expected.pvalue, interval.low, interval.high)
    assert found.effect == pytest.approx(0.02)
    assert found.n == (4, 4)


def test_a_difference_by_hand():
    """Pairs differ by 1, 2, 3: t = 2 / (1 / √3), on two degrees of freedom."""
    found = difference({"1": 1.0, "2": 2.0, "3": 3.0}, {"1": 0.0, "2": 0.0, "3": 0.0})
    assert not isinstance(found, str)
    t = 2 * math.sqrt(3)
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert found.high - found.low == pytest.approx(2 * 4.302653 / math.sqrt(3), rel=1e-5)


def test_too_few_seeds_and_no_spread_are_said():
    assert "takes 3 of each" in str(difference({"1": 0.1, "2": 0.2}, FIRST))
    assert "without any spread" in str(difference(FIRST, {k: v - 0.25 for k, v in FIRST.items()}))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nothing"], "no run folder 'nothing'"),
        (["--all"], "there is no run"),
        (["empty"], "no config.yaml and no metrics.csv"),
        (["a", "--sort", "val/acc"], "--sort val/acc; they measured val/loss"),
    ],
)
def test_what_can_not_be_compared_is_told(words, told):
    if "a" in words:
        made("a", {"val/loss": 0.5})
    if "empty" in words:
        Path("runs/empty").mkdir(parents=True)
    with pytest.raises(UserError, match=told):
        compare(words)


def test_names_are_escaped_on_the_page():
    for k, name in enumerate(("<script>x", "b")):
        made(name, {"val/loss": 0.5}, lr=k)
    compare(["--all"])
    page = Path("runs/compare.html").read_text()
    assert "&lt;script&gt;x" in page
    assert "<script>x" not in page


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a-seed42", "a-seed43"], "a"),
        (["a-seed9", "a-seed10"], "a"),
        (["x-1", "x-2"], "x"),
        (["one", "two"], "one"),
        (["baa", "bba"], "b"),
    ],
)
def test_a_row_is_called_what_its_runs_begin_with(names, told):
    for seed, name in enumerate(names):
        made(name, {"val/loss": 0.5}, seed)
    [group] = grouped(newest_runs(None))
    assert group.name == told


def test_rows_of_one_name_are_told_apart_and_a_missing_score_is_counted(capsys):
    for seed in range(3):
        made(f"x-{seed}", {"val/acc": 0.5, "val/loss": None if seed == 2 else 0.5}, seed)
        made(f"x-{seed + 3}", {"val/acc": 0.5, "val/loss": 0.4}, seed, lr=0.2)
    compare(["--all"])
    first, second = capsys.readouterr().out.splitlines()[1:3]
    assert first.startswith("x (2)  3  0.4000 ± 0.0000  ")
    assert second.startswith("x      3  0.5000 ± 0.0000 (2 of 3)")


def test_a_side_of_several_configurations_has_no_test(capsys):
    for seed in range(3):
        made(f"a-seed{seed}", {"val/loss": 0.5 + seed}, seed, lr=0.1 + (seed == 2))
        made(f"b-seed{seed}", {"val/loss": 0.1 * seed}, seed, lr=7)
    compare(["a", str(Path("runs/b").absolute())])
    assert "no test: a has runs of 2 configurations" in capsys.readouterr().out


def test_two_ways_of_choosing_runs_are_one_too_many():
    with pytest.raises(UserError, match="one of these"):
        compare(["a", "--all"])


# ---- --seeds


FEW = ["fit", "--epochs=1", "--limit_train_batches=2", "--limit_val_batches=1"]


@pytest.mark.slow
def test_a_series_is_its_single_runs_and_goes_on_where_it_stopped(run, capsys):
    words = ["--epochs=1", "--limit_train_batches=2"]
    run(*words, "--seeds=2", "--seed=7", "--name=s")
    table = capsys.readouterr().out.splitlines()[-2]
    run(*words, "--seed=8", "--name=alone")
    assert run_at(Path("runs/s-seed8")).scores == run_at(Path("runs/alone")).scores
    values = [run_at(Path(f"runs/s-seed{seed}")).scores["val/loss"] for seed in (7, 8)]
    assert table.split()[:3] == ["s", "2", f"{statistics.mean(values):.4f}"]
    capsys.readouterr()
    run(*words, "--seeds=3", "--seed=7", "--name=s", "--resume")
    told = capsys.readouterr().out
    assert told.count("is finished") == 2
    assert told.splitlines()[-2].split()[:2] == ["s", "3"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seeds=0"], "--seeds 0: expected how many runs"),
        (["--seeds"], "--seeds : expected how many runs"),
        (["test", "--seeds=2", "--ckpt_path=x"], "--seeds is for fit"),
        (["--seeds=2", "--resume"], "needs the --name"),
    ],
)
def test_a_series_that_can_not_be_had(fails, words, told):
    assert told in fails(*words)


def test_an_interrupted_run_ends_the_series(run):
    with pytest.raises(SystemExit):
        run(*FEW, "--seeds=3", "--name=s", "--callbacks+=recorder.Kill", "--callbacks.dies_at=1")
    assert sorted(path.name for path in Path("runs").iterdir()) == ["s-seed42"]


@pytest.mark.parametrize("start", [None, {"ended": [1], "git": 5}, {"ended": {"monitor": 5}}])
def test_a_record_of_another_shape_is_left_out(capsys, start):
    (made("odd", {"val/loss": 0.5}) / "environment.json").write_text(json.dumps([start]))
    compare(["odd", "odd"])
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["odd", "1", "0.5000"]


def test_runs_of_other_metrics_come_last(capsys):
    made("a", {"val/acc": 0.5}, lr=1)
    made("b", {"val/loss": 1e300}, lr=2)
    made("c", {"val/loss": 1e-7}, lr=3)
    compare(["--all"])
    table = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[1:4]]
    assert table == [["c", "1", "1e-07"], ["b", "1", "1e+300"], ["a", "1", "–"]]


@pytest.mark.parametrize("seeds", [(1, 2), (42, 43), (9, 10)])
def test_a_series_is_named_without_its_seeds(seeds):
    for seed in seeds:
        made(f"a1-seed{seed}", {"val/loss": 0.5}, seed)
    assert [group.name for group in grouped(newest_runs(None))] == ["a1"]


@pytest.mark.parametrize("last", ["0", "-1"])
def test_so_many_is_at_least_one(last):
    with pytest.raises(UserError, match="--last"):
        compare(["--last", last])


# ---- a terminal's width, and runs of several modules


def configured(
    name: str, model: dict[str, object], scores: dict[str, float], **options: object
) -> None:
    """A run of a module of its own, by class and arguments."""
    folder = made(name, scores)
    config = {"seed_everything": 1, "model": model, "trainer": {"max_epochs": len(name)}}
    config |= options
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def three_modules() -> None:
    loss = {"class_path": "torch.nn.CrossEntropyLoss", "init_args": {"reduce": None, "weight": 1}}
    for name, lr in (("one", 0.1), ("three", 0.2)):
        own = {"loss": loss, "lr": lr, **{f"setting_{k}": k for k in range(20)}}
        model = {"class_path": "a.Own", "init_args": own}
        configured(name, model, {"val/loss": lr, "test/loss": lr, "val/acc": 0.5})
    plain = {"class_path": "b.Plain", "init_args": {"depth": 3, "loss.x": 1}}
    configured("plain", plain, {"val_loss": 0.15, "test_loss": 0.3}, monitor=None)


def test_the_terminal_shows_scores_and_what_differs_and_counts_the_rest(capsys):
    three_modules()
    compare(["one", "three", "plain"])
    header, *lines = capsys.readouterr().out.splitlines()
    # All three have the first columns, two the next.
    shown = ["run", "n", "val/loss", "test/loss", "model", "max_epochs", "val/acc", "lr"]
    assert header.split() == shown
    assert [line.split()[0] for line in lines[:3]] == ["one", "plain", "three"]
    assert lines[1].split() == ["plain", "1", "0.1500", "0.3000", "Plain", "5", "–", "–"]
    # loss and its two arguments, 20 settings, depth and loss.x, monitor
    assert lines[3] == "26 more settings differ: see runs/compare.html"
    page = Path("runs/compare.html").read_text()
    assert all(f">{name}<" in page for name in ("setting_19", "loss.reduce", "depth"))
    assert "val_loss</th>" not in page


@pytest.mark.parametrize("width", [80, 40, None])
def test_no_line_of_the_table_is_wider_than_the_terminal(capsys, monkeypatch, width):
    long = {f"argument_number_{k}": "x" * 50 for k in range(9)}
    for name, more in (("a" * 60, "y"), ("b", "z")):
        made(
            name,
            {f"val/{k}_score": 0.5 for k in range(9)},
            **{k: v + more for k, v in long.items()},
        )
    terminal = Terminal(monkeypatch, width) if width else None
    compare(["--all"])
    lines = terminal.screen() if terminal else capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= (width or 120)
    assert lines[0].startswith("run ")
    assert "more settings differ: see runs/compare.html" in " ".join(lines)


def test_arguments_of_two_classes_are_shown_where_only_the_class_differs(capsys):
    for name, of, argument in (("a", "MLP", "hidden"), ("b", "ConvNet", "width")):
        net = {"class_path": f"m.{of}", "init_args": {argument: 32}}
        made(name, {"val/loss": 0.5}, net=net)
    compare(["--all"])
    header = capsys.readouterr().out.splitlines()[0]
    assert header.split() == ["run", "n", "val/loss", "net", "net.hidden", "net.width"]


def test_a_metric_is_named_as_most_runs_name_it_and_asked_for_by_either_name(capsys):
    made("a", {"val/loss": 0.4, "test/f1": 0.1}, lr=1)
    made("b", {"val_loss": 0.3, "test_f1": 0.2}, lr=2)
    made("c", {"val_loss": 0.2, "test_f1": 0.3}, lr=3)
    compare(["a", "b", "c", "--sort", "test/f1"])
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "n", "test_f1", "lr", "val_loss"]
    assert [line.split()[0] for line in lines[:3]] == ["c", "b", "a"]


def test_two_metrics_of_one_run_stay_two(capsys):
    made("a", {"val/loss": 0.4, "val_loss": 0.5}, lr=1)
    made("b", {"val/loss": 0.3}, lr=2)
    compare(["--all"])
    assert capsys.readouterr().out.splitlines()[0].split() == [
        "run",
        "n",
        "val/loss",
        "lr",
        "val_loss",
    ]
