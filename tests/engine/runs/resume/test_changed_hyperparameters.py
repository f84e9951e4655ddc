"""A continued fit ends as the uninterrupted one with the hyperparameters of today."""

import csv

import pytest

LAST = "--ckpt_path=runs/a/checkpoints/last.ckpt"
SCHEDULES = [
    ["--scheduler=OneCycleLR"],
    ["--scheduler=CosineAnnealingLR"],
    ["--scheduler=CosineAnnealingLR", "--warmup=0.2"],
    ["--scheduler=PolynomialLR", "--warmup=0.1"],
    ["--scheduler=LinearLR"],
    ["--scheduler=CyclicLR"],
    ["--scheduler=CosineAnnealingWarmRestarts"],
    ["--scheduler=StepLR", "--scheduler.step_size=1"],
    ["--scheduler=ExponentialLR", "--scheduler.gamma=0.5", "--warmup=0.1"],
    ["--warmup=0.5"],
]
FEW = ["--limit_train_batches=5", "--log_every_n_steps=1"]


def group(cli):
    return cli.trainer.optimizers[0].param_groups[0]


def rates(cli) -> dict[str, float]:
    """The lr after every step from the eleventh on."""
    with (cli.folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["lr"] and int(row["step"]) > 10]
    return {row["step"]: float(row["lr"]) for row in rows}


def test_nothing_changed_nothing_said_and_the_result_is_the_uninterrupted_one(run, capsys):
    run("fit", "--epochs=2", "--name=a")
    capsys.readouterr()
    continued = run("fit", LAST, "--epochs=4")
    assert " -> " not in capsys.readouterr().out
    whole = run("fit", "--epochs=4")
    for a, b in zip(continued.model.parameters(), whole.model.parameters(), strict=True):
        assert a.equal(b)


@pytest.mark.parametrize("words", SCHEDULES, ids=" ".join)
def test_a_longer_run_follows_the_longer_schedule(run, words):
    words = [*words, *FEW, "--optimizer=SGD", "--optimizer.momentum=0.9"]
    run("fit", "--epochs=2", "--name=a", *words)
    continued = run("fit", LAST, "--epochs=4", *FEW)
    whole = run("fit", "--epochs=4", *words)
    assert len(rates(whole)) == 10
    assert rates(continued) == pytest.approx(rates(whole), rel=1e-4, abs=1e-9)
    assert group(continued)["momentum"] == pytest.approx(group(whole)["momentum"], rel=1e-4)


@pytest.mark.parametrize(
    "words",
    [
        ["--scheduler=CosineAnnealingLR"],
        ["--scheduler=null"],
        ["--scheduler.pct_start=0.6"],
        ["--scheduler=null", "--warmup=0.5"],
        ["--lr=0.05"],
    ],
    ids=" ".join,
)
def test_another_schedule_counts_as_if_it_had_from_the_start(run, capsys, words):
    sgd = ["--optimizer=SGD", "--optimizer.momentum=0.9", "--scheduler=OneCycleLR", *FEW]
    run("fit", "--epochs=2", "--name=a", *sgd)
    continued = run("fit", LAST, "--epochs=4", *words, *FEW)
    assert f"{words[0][2:].partition('=')[0].partition('.')[0]} " in capsys.readouterr().out
    whole = run("fit", "--epochs=4", *sgd, *words)
    assert rates(continued) == pytest.approx(rates(whole), rel=1e-4, abs=1e-9)
    assert group(continued)["momentum"] == pytest.approx(group(whole)["momentum"], rel=1e-4)


def test_another_optimizer_starts_afresh_another_spelling_does_not(run):
    run("fit", "--epochs=1", "--name=a", "--optimizer=Adam")
    cli = run("fit", LAST, "--epochs=2", "--optimizer=SGD", "--optimizer.momentum=0.9")
    assert type(cli.trainer.optimizers[0]).__name__ == "SGD"
    assert cli.trainer.global_step == 42
    same = run("fit", LAST, "--epochs=2", "--optimizer=torch.optim.adam.Adam")
    whole = run("fit", "--epochs=2", "--optimizer=Adam")
    for a, b in zip(same.model.parameters(), whole.model.parameters(), strict=True):
        assert a.equal(b)


def test_an_argument_that_is_new_or_gone_counts(run, capsys):
    run("fit", "--epochs=1", "--name=a")
    new = run("fit", LAST, "--epochs=2", "--optimizer.weight_decay=0.5", "--name=b")
    assert group(new)["weight_decay"] == 0.5
    assert "weight_decay 0.01 -> 0.5" in capsys.readouterr().out
    gone = run("fit", LAST.replace("/a/", "/b/"), "--epochs=3", "--optimizer=AdamW")
    assert group(gone)["weight_decay"] == 0.01


def test_groups_may_be_made_in_a_run_that_had_none(run, capsys):
    run("fit", "--epochs=1", "--name=a", *FEW)
    words = ["--lr_factors={net.layers.1: 0.5}", "--optimizer.no_decay=true", "--epochs=2"]
    groups = run("fit", LAST, *words, *FEW).trainer.optimizers[0].param_groups
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [
        (0.001, 0.01), (0.001, 0.0), (0.0005, 0.01), (0.0005, 0.0)
    ]  # fmt: skip
    assert "lr_factors None -> {'net.layers.1': 0.5}" in capsys.readouterr().out


def test_the_learning_rate_finder_is_obeyed_once(run):
    cli = run("fit", "--epochs=20", "--limit_train_batches=3", "--callbacks+=LearningRateFinder")
    found = next(c for c in cli.trainer.callbacks if hasattr(c, "optimal_lr"))
    assert group(cli)["lr"] == pytest.approx(found.optimal_lr.suggestion())
