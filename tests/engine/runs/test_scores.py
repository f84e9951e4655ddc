import math
from pathlib import Path

import pytest
from conftest import main

from lit_opt.engine.runs.scores import CSVCurves, error_line, read_rows
from lit_opt.models import MLP


def test_rows_of_a_step_are_merged_and_new_columns_added(tmp_path):
    curves = CSVCurves(tmp_path / "run")
    curves.save()
    assert not (tmp_path / "run").exists()  # nothing is measured yet
    curves.log_metrics({"a": 1.0}, 1)
    curves.save()
    curves.log_metrics({"b": 2.0}, 1)
    curves.log_metrics({"a": 3.0}, 5)
    curves.finalize("success")
    assert (tmp_path / "run/metrics.csv").read_text() == "step,a,b\n1,1.0,2.0\n5,3.0,\n"


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        ({"test/loss": 0.0934564, "test/acc": 0.9721}, "acc 97.2%, avg loss 0.093456"),
        ({"test/loss": 1.0, "test/r2": 0.45}, "r2 0.4500, avg loss 1.000000"),
    ],
)
def test_the_tutorials_line(scores, line):
    assert error_line("Test", scores) == f"Test Error: {line}"


ROWS = "step,loss,lr\r\n1,0.5,\r\n20,0.25,0.1\r\n"
WHOLE = {1: {"step": 1, "loss": "0.5"}, 20: {"step": 20, "loss": "0.25", "lr": "0.1"}}
FIRST = {1: WHOLE[1]}
DAMAGED = {
    "BOM": (b"\xef\xbb\xbf" + ROWS.encode(), WHOLE),
    "NULs": (ROWS.encode() + b"\0" * 9, WHOLE),
    "text": (ROWS.encode() + "Notiz: é\r\nx,y,z,a\r\n".encode("latin-1"), WHOLE),
    "decimals": (ROWS.replace("20,", "20.0,").encode(), WHOLE),
    "semicolons": (ROWS.replace(",", ";").replace(".", ",").encode(), WHOLE),
    "tabs": (ROWS.replace(",", "\t").encode(), WHOLE),
    "line ends": (ROWS.replace("\r", "").encode(), WHOLE),
    "more columns": (ROWS.replace("\r", ",,\r").encode(), WHOLE),
    "cut": (ROWS.encode()[:-15], FIRST),
    "infinite step": (ROWS.replace("20,", "inf,").encode(), FIRST),
    "other columns": (b"a,b\n1,2\n", {}),
    "empty": (b"", {}),
    "UTF-16": (ROWS.encode("utf-16"), {}),
    "random": (bytes(range(256)) * 4, {}),
}
READ_AS_IT_IS = {"decimals", "line ends", "empty", "cut", "more columns"}


@pytest.mark.parametrize(("content", "rows"), DAMAGED.values(), ids=DAMAGED)
def test_of_a_damaged_metrics_csv_its_rows_are_taken_and_the_file_kept(content, rows, request):
    Path("metrics.csv").write_bytes(content)
    assert read_rows(Path("metrics.csv")) == rows
    kept = Path("metrics-damaged.csv")
    if kept.exists():
        assert kept.read_bytes() == content
    assert kept.exists() != (request.node.callspec.id in READ_AS_IT_IS)


def test_a_resumed_run_takes_a_spreadsheet_s_file_over(run, capsys):
    words = ["--name=a", "--resume", "--limit_train_batches=5", "--log_every_n_steps=5"]
    run(*words, "--epochs=2", "--no_test")
    path = Path("runs/a/metrics.csv")
    path.write_bytes(path.read_bytes().replace(b",", b";").replace(b".", b","))
    run(*words, "--epochs=3", "--no_test")
    assert "metrics.csv' is damaged" in capsys.readouterr().err
    run("--name=b", *words[1:], "--epochs=3", "--no_test")
    assert path.read_text() == Path("runs/b/metrics.csv").read_text()


# ---- what the final scores are worth, and who gets them


class FailsInEval(MLP):
    """Outputs of nan in validation from the batch `first`, from 0, on; its weights are finite."""

    first, batches = 0, 0

    def forward(self, x):
        FailsInEval.batches += not self.training
        bad = not self.training and FailsInEval.batches > FailsInEval.first
        return super().forward(x) * (math.nan if bad else 1)


NET = [f"--net={__name__}.FailsInEval", "--net.hidden=[8]", "--limit_train_batches=2"]


def test_a_run_whose_final_loss_is_nan_exits_with_1_and_has_no_best(fails, monkeypatch, capsys):
    monkeypatch.setattr(FailsInEval, "first", 2)  # after the checks of the net
    monkeypatch.setattr(FailsInEval, "batches", 0)
    with pytest.raises(SystemExit) as caught:
        main([*NET, "--epochs=3", "--name=a"])
    assert caught.value.code == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("warning: val/loss is nan after step 2; no checkpoint is the best")
    assert told[1].startswith("error: val/loss is nan")
    assert len(told) == 3
    assert '"test/loss": null' in Path("runs/a/metrics.json").read_text()
    assert {p.name for p in Path("runs/a/checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt"}
    assert not Path("runs/a/.finished").exists()
    monkeypatch.setattr(FailsInEval, "batches", 0)
    assert "test/loss is nan" in fails("test", "--ckpt_path=runs/a/checkpoints/last.ckpt", code=1)


def test_metrics_csv_is_written_beside_loggers_of_the_user(run, column):
    run("--epochs=2", "--name=a", "--limit_train_batches=2")
    words = ["--epochs=2", "--limit_train_batches=2", "--callbacks+=ModelCheckpoint"]
    words += ["--logger+=CSVLogger", "--logger.save_dir=mine", "--logger.name=x"]
    scores = run(*words, "--name=b").scores
    assert Path("runs/b/metrics.csv").read_bytes() == Path("runs/a/metrics.csv").read_bytes()
    [theirs] = Path("mine").rglob("metrics.csv")
    assert column(theirs, "train/loss") == column("runs/a/metrics.csv", "train/loss")
    assert float(column(theirs, "test/loss")[-1]) == pytest.approx(scores["test/loss"])
    assert not list(Path("mine").rglob("*.ckpt"))
    assert len(list(Path("runs/b/checkpoints").iterdir())) == 4  # best, last, previous, theirs
    run("--epochs=1", "--name=c", "--limit_train_batches=2", "--logger=false")
    assert not Path("runs/c/metrics.csv").exists()
