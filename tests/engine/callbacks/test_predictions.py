"""One row a sample, whole or not at all."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lit_opt.engine.base.targets import Classes, DenseClasses, MultiLabel, NextToken, Regression
from lit_opt.engine.callbacks.predictions import WritePredictions
from lit_opt.module import LitModule
from lit_opt.sources import Digits

BEST = "--ckpt_path=runs/a/checkpoints/best.ckpt"
WRITTEN = Path("runs/a/predictions.csv")


def test_predictions_of_classes_are_those_of_the_test_score(trained, run, column):
    """Of what net, the checkpoint tells."""
    trained("--epochs=1", "--no_test", "--net.hidden=[32]", "--batch_size=100", "--lr=0.01")
    run("predict", BEST)
    assert WRITTEN.read_text().startswith("index,pred,class,prob\n")
    _, labels = Digits().load(None, "test")
    assert column(WRITTEN, "index") == [str(index) for index in range(len(labels))]
    hits = [int(p) == y for p, y in zip(column(WRITTEN, "pred"), labels.tolist(), strict=True)]
    assert abs(sum(hits) / len(hits) - run("test", BEST).scores["test/acc"]) < 1e-6
    assert all(0.1 <= float(prob) <= 1 for prob in column(WRITTEN, "prob"))


def test_predictions_of_a_regression_are_the_outputs(run, column):
    words = ["--loss=mse", "--metrics={mae: torchmetrics.MeanAbsoluteError}", "--epochs=1"]
    scores = run("--dataset=Diabetes", *words, "--name=a").scores
    assert set(scores) == {"val/loss", "val/mae", "test/loss", "test/mae"}
    run("predict", BEST)
    assert WRITTEN.read_text().startswith("index,output_0\n")
    assert len(column(WRITTEN, "output_0")) == 88


def test_a_prediction_that_fails_leaves_the_earlier_ones(trained, run, fails, monkeypatch):
    trained("--epochs=1", "--no_test")
    run("predict", BEST)
    before = WRITTEN.read_text()

    def fail(self: LitModule, batch: object, batch_idx: int) -> None:
        raise ValueError("out of luck")

    monkeypatch.setattr(LitModule, "predict_step", fail)
    fails("predict", BEST, code=1)
    assert WRITTEN.read_text() == before
    assert not list(WRITTEN.parent.glob("*.tmp"))


class Echo(LitModule):
    def predict_step(self, batch, batch_idx):
        return batch


@pytest.mark.slow
def test_two_processes_write_one_file(quiet_trainer, column):
    writer = WritePredictions(Path())
    trainer = quiet_trainer(callbacks=[writer], devices=2, strategy="ddp_fork")
    data = DataLoader(torch.arange(7.0).reshape(7, 1), batch_size=2)
    trainer.predict(Echo(torch.nn.Linear(1, 1)), data, return_predictions=False)
    assert column("predictions.csv", "index") == [str(index) for index in range(7)]
    assert [float(x) for x in column("predictions.csv", "output_0")] == list(range(7))


CSV = "index,output_0\r\n0,0.0\r\n1,1.0\r\n2,2.0\r\n"


@pytest.mark.parametrize(
    ("made", "name", "read", "told"),
    [
        (lambda x: x[:, 0], "predictions.csv", CSV, "3 rows: the outputs"),
        (
            lambda x: [f"é\n{k[0]}" for k in x.tolist()],
            "predictions.txt",
            "--- 0\né\n0.0\n--- 1",
            "3 texts",
        ),
        (
            lambda x: x.long(),
            "predictions.pt",
            [torch.tensor([[0], [1]]), torch.tensor([[2]])],
            "a list of what predict_step returned, 2 batches",
        ),
        (
            lambda x: {"n": len(x)},
            "predictions.pt",
            [{"n": 2}, {"n": 1}],
            "a list of what predict_step returned, 2 batches",
        ),
    ],
)
def test_what_a_predict_step_returns_has_a_file(quiet_trainer, capsys, made, name, read, told):
    model = Echo(torch.nn.Linear(1, 1))
    model.predict_step = lambda batch, batch_idx: made(batch)
    data = DataLoader(torch.arange(3.0).reshape(3, 1), batch_size=2)
    trainer = quiet_trainer(callbacks=[WritePredictions(Path())])
    trainer.predict(model, data, return_predictions=False)
    assert capsys.readouterr().out.splitlines()[-1] == f"predictions: {name}, {told}"
    if name.endswith(".pt"):
        assert str(torch.load(name, weights_only=True)) == str(read)
    else:
        assert Path(name).read_bytes().decode().startswith(read)


@pytest.mark.parametrize(
    ("targets", "shape", "told"),
    [
        (Classes(), (5, 3), "csv, 5 rows: the likeliest class and its probability"),
        (MultiLabel(), (5, 3), "csv, 5 rows: a probability for each label"),
        (Regression(), (5, 3), "csv, 5 rows: the outputs"),
        (Regression(), (5, 3, 8), "npy, float32 (5, 3, 8): the outputs"),
        (DenseClasses(), (5, 3, 4, 6), "npy, int32 (5, 4, 6): the likeliest class of each place"),
        (NextToken(), (5, 7, 9), "npy, int32 (5, 7): the likeliest token of each place"),
    ],
)
def test_the_end_of_predict_says_what_is_in_the_file(quiet_trainer, capsys, targets, shape, told):
    data = pl.LightningDataModule()
    data.predict_dataloader = lambda: DataLoader(torch.rand(shape), batch_size=2)
    data.targets = targets
    trainer = quiet_trainer(callbacks=[WritePredictions(Path())])
    trainer.predict(Echo(torch.nn.Linear(1, 1)), datamodule=data, return_predictions=False)
    assert capsys.readouterr().out.splitlines()[-1] == f"predictions: predictions.{told}"
