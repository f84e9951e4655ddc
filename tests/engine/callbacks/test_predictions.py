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


@pytest.mark.parametrize(
    ("made", "name", "read"),
    [
        (lambda x: x[:, 0], "predictions.csv", "index,output_0\r\n0,0.0\r\n1,1.0\r\n2,2.0\r\n"),
        (lambda x: [f"é\n{k[0]}" for k in x.tolist()], "predictions.txt", "--- 0\né\n0.0\n--- 1"),
        (lambda x: x.long(), "predictions.pt", [torch.tensor([[0], [1]]), torch.tensor([[2]])]),
        (lambda x: {"n": len(x)}, "predictions.pt", [{"n": 2}, {"n": 1}]),
    ],
)
def test_what_a_predict_step_returns_has_a_file(quiet_trainer, made, name, read):
    model = Echo(torch.nn.Linear(1, 1))
    model.predict_step = lambda batch, batch_idx: made(batch)
    data = DataLoader(torch.arange(3.0).reshape(3, 1), batch_size=2)
    trainer = quiet_trainer(callbacks=[WritePredictions(Path())])
    trainer.predict(model, data, return_predictions=False)
    if name.endswith(".pt"):
        assert str(torch.load(name, weights_only=True)) == str(read)
    else:
        assert Path(name).read_bytes().decode().startswith(read)
