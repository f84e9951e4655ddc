"""A page for every run, whatever became of it, and never at its cost."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from conftest import main
from torch.utils.data import DataLoader

from lit_opt.engine.cli.main import main as start
from lit_opt.engine.reports import at_end
from lit_opt.engine.reports.class_outcomes import ClassOutcomes
from lit_opt.engine.reports.class_page import class_sections
from lit_opt.engine.reports.curves import curves_of
from lit_opt.engine.reports.page import figure, page, table
from lit_opt.engine.reports.run_record import read_run

RUN = Path("runs/a")
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\u2028&"'
QUICK = "--epochs=2", "--net.hidden=[8]", "--lr=0.01"


class Elements(HTMLParser):
    """What a browser makes of a page: its elements, their attributes, and the words in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.kinds: list[str] = []
        self.attributes: list[str] = []
        self.scripts: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.kinds.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        if self.kinds and self.kinds[-1] == "script":
            self.scripts.append(data)
        self.words += data


def test_every_fit_ends_with_a_page_that_holds_all_it_needs(trained):
    folder = trained(*QUICK)
    text = (folder / "report.html").read_text()
    assert len(text) < 1_500_000
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.S)  # Vega names its schemas
    assert not re.search(r"(src|href)=(?![\"']?data:)", outside)
    words = Elements(text).words
    for part in ("Confusion matrix", "Calibration", "2 of 2 epochs; finished", "best at epoch"):
        assert part in words
    scores = json.loads((folder / "metrics.json").read_text())
    assert f"{scores['test/acc']:.1%}" in words
    assert "python train.py --config runs/a/config.yaml" in words
    end = json.loads((folder / "environment.json").read_text())[-1]["ended"]
    assert end["why"] == "finished"
    assert end["seconds"] >= end["training_seconds"] > 0
    assert end["steps"] == 2 * 21


def test_the_best_epoch_is_marked_and_the_curves_are_those_of_metrics_csv(trained, run):
    folder = trained(*QUICK)
    run_of = at_end.write_report(folder).read_text()
    specs = [json.loads(s) for s in Elements(run_of).scripts if s.startswith('{"description')]
    loss = next(s for s in specs if s["description"].startswith("loss;"))
    best = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)["epoch"] + 1
    assert loss["layer"][1]["data"]["values"] == [{"x": best}]
    drawn = [row["y"] for row in loss["data"]["values"] if row["series"] == "validation"]
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    column = rows[0].index("val/loss")
    assert drawn == pytest.approx([float(r[column]) for r in rows[1:] if r[column]], rel=1e-5)


def test_a_killed_run_has_a_page_too(trained, run, capsys):
    folder = trained(*QUICK)
    for name in (".finished", "metrics.json", "outcomes.json", "report.html"):
        (folder / name).unlink()
    starts = json.loads((folder / "environment.json").read_text())
    del starts[-1]["ended"]
    (folder / "environment.json").write_text(json.dumps(starts))
    main(["report", "runs/a"])
    assert capsys.readouterr().out == "report: runs/a/report.html\n"
    words = Elements((folder / "report.html").read_text()).words
    assert "not finished" in words
    assert "the best so far" in words
    shutil.rmtree(folder / "checkpoints")
    for name in ("config.yaml", "environment.json"):
        (folder / name).write_bytes(b"\xff{")
    main(["report", "runs/a"])
    assert "Confusion" not in (folder / "report.html").read_text()


@pytest.mark.slow
def test_figures_are_files_as_well(trained, capsys):
    folder = trained(*QUICK)
    main(["report", str(folder), "--format", "svg", "png"])
    files = [Path(line) for line in capsys.readouterr().out.splitlines()[1:]]
    assert {"loss-by-epoch.svg", "acc-by-epoch.png", "confusion-matrix.svg"} <= {
        f.name for f in files
    }
    heads = {".svg": b"<svg", ".png": b"\x89PNG"}
    assert all(file.read_bytes().startswith(heads[file.suffix]) for file in files)


@pytest.mark.parametrize("words", [["nowhere"], [], ["runs", "--format", "pdf"]])
def test_what_is_no_run_is_told(fails, words):
    assert "report" in fails("report", *words) or "run" in fails("report", *words)


# ---- never at the cost of the run


def test_what_fails_in_a_report_is_one_line_of_warning(run, capsys, monkeypatch):
    def fail(text):
        def failing(*args):
            raise OSError(text)

        return failing

    monkeypatch.setattr(at_end, "write_report", fail("disk\nfull"))
    monkeypatch.setattr(ClassOutcomes, "add", fail("strange logits"))
    assert run(*QUICK, "--name=a").scores
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "warning: the report will show no outcomes: OSError: strange logits",
        "warning: 'runs/a/report.html' is not written: OSError: disk full",
    ]
    assert told.out.splitlines()[-1] == "run folder: runs/a"
    assert (RUN / ".finished").is_file()


def test_a_fit_that_breaks_leaves_a_page_that_says_why(fails):
    fails(*QUICK, "--name=a", "--lr=1e30", code=1)
    text = Elements((RUN / "report.html").read_text()).words
    assert "stopped: " in text


def test_without_vl_convert_a_page_has_its_tables(trained, monkeypatch):
    from lit_opt.engine.reports import page as pages

    folder = trained(*QUICK)
    monkeypatch.setattr(pages, "vega_bundle", lambda: None)
    text = at_end.write_report(folder).read_text()
    assert len(text) < 200_000
    assert "pip install vl-convert-python" in text
    assert "<td" in text


class Plain(pl.LightningModule):
    """Logs by names of its own, and takes whatever comes as a batch."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(start))

    def training_step(self, batch, batch_idx):
        self.log("reward", self.w.detach() + batch_idx)
        self.log("train_loss", self.w**2, on_step=False, on_epoch=True)
        return (self.w - 1) ** 2

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", (self.w - 1) ** 2)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def train_dataloader(self):
        return DataLoader([{"a": torch.ones(1)}] * 60, batch_size=None)

    val_dataloader = train_dataloader


def test_a_plain_module_has_its_curves():
    start(Plain, args=["--trainer.max_epochs=2", "--name=a"])
    words = Elements((RUN / "report.html").read_text()).words
    for title in ("reward", "loss", "lr"):
        assert title in words
    assert "Confusion" not in words
    assert not (RUN / "outcomes.json").exists()


# ---- what is in the data stays text


def hostile_outcomes() -> dict:
    """Of two classes, one of which is called HOSTILE; one sample."""
    sample = {"place": 0, "name": HOSTILE, "true": 0, "pred": 1, "prob": 0.9, "picture": None}
    kept = {"names": [HOSTILE, "b"], "shown": [0, 1], "matrix": [[1, 2], [0, 1]]}
    kept |= {"classes": [[0.5, 0.5, 0.5, 3]] * 2, "pairs": [[0, 1, 2]], "bins": [[1, 0.9, 0.0]]}
    kept |= {"ece": 0.9, "wrong": [0], "samples": [sample]}
    return kept


def test_names_in_the_data_stay_text():
    spec = {"data": {"values": [{"series": HOSTILE}]}}
    inside = figure(HOSTILE, spec, table([HOSTILE, "b"], [[HOSTILE, 1.0]], HOSTILE), HOSTILE)
    honest = page("a", [("a", figure("a", {}, table(["a", "b"], [["a", 1.0]])))])
    found = Elements(page(HOSTILE, [(HOSTILE, inside), *class_sections(hostile_outcomes())]))
    assert len(Elements(honest).kinds) > 15
    assert found.kinds.count("script") == 3 + 1 + 1 + 1  # the page's, two charts, the samples
    assert found.kinds.count("img") == 0
    assert "onerror" not in found.attributes
    assert found.words.count(HOSTILE) >= 8
    data = [json.loads(s) for s in found.scripts if s[:1] in "[{" and "alert(1)" in s]
    assert data[0]["data"] == spec["data"]
    assert data[1][0]["name"] == HOSTILE


def test_curves_go_by_epochs_and_by_steps_where_there_are_several_in_one():
    rows = [
        {"step": 9.0, "epoch": 0.0, "val/f1": 0.5, "train/loss": 3.0, "val/loss": 2.0},
        {"step": 10.0, "lr": 0.1, "train/loss_step": 1.0},
        {"step": 14.0, "epoch": 1.0, "val/loss": 1.5},
        {"step": 19.0, "epoch": 1.0, "val/loss": 1.0, "train/loss": float("nan")},
    ]
    found = {chart.title: chart for chart in curves_of(rows)}
    assert list(found) == ["loss", "f1", "loss of single batches", "lr"]
    assert (found["loss"].x, found["f1"].x) == ("optimizer step", "epoch")
    assert found["loss"].lines["validation"] == [(10, 2.0), (15, 1.5), (20, 1.0)]
    assert found["f1"].lines == {"validation": [(1, 0.5)]}
    assert found["lr"].lines == {"lr": [(10, 0.1)]}
    assert [r["y"] for r in found["loss"].spec()["data"]["values"]][-2:] == [3.0, None]


@pytest.mark.parametrize("starts", ['[{"ended": 7}, 3]', '[{"ended": [1]}]'])
def test_starts_of_another_form_are_left_out(starts):
    Path("environment.json").write_text(starts)
    assert read_run(Path()).starts == []
