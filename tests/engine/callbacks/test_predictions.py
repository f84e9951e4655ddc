"""One row a sample, whole or not at all."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

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
