"""Several digits in a picture: a plain loop's losses, a kill, scikit-learn's scores, a result."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from recorder import Recorder, weights
from sklearn.metrics import roc_auc_score

from examples.multilabel.patterns import DigitsTogether

CONFIG = f"--config={ROOT}/examples/multilabel/config.yaml"
FEW = {"class_path": "examples.multilabel.patterns.DigitsTogether"}
FEW["init_args"] = {"train": 320, "test": 200}
TINY = [CONFIG, f"--dataset={json.dumps(FEW)}", "--net=MLP", "--net.hidden=[16]", "--epochs=2"]
TINY += ["--batch_size=8"]
RECORD = "--callbacks+=recorder.Recorder"


def test_its_losses_are_a_plain_loops(run):
    plain = ["--val_fraction=0", "--scheduler=null", "--optimizer=SGD", "--lr=0.1", "--seed=7"]
    plain += ["--epochs=1", "--no_test", "--normalize=false"]
    done = run(*TINY, *plain, RECORD)
    [recorder] = [c for c in done.trainer.callbacks if isinstance(c, Recorder)]
    net, (x, y) = recorder.initial.train(), DigitsTogether(320, 200).load(Path(), "train")
    optimizer, losses = torch.optim.SGD(net.parameters(), 0.1, fused=True), []
    order = torch.randperm(320, generator=torch.Generator().manual_seed(7 * 1_000_003))
    for rows in order.split(8):
        optimizer.zero_grad()
        logits = net(x[rows].float() * torch.tensor(1 / 255))
        loss = F.binary_cross_entropy_with_logits(logits, y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert recorder.losses == pytest.approx(losses, rel=1e-5)


def test_killed_and_resumed_it_ends_as_the_uninterrupted_run(run):
    words = [*TINY, "--save_every=8", "--no_test"]
    run(*words, "--name=whole")
    with pytest.raises(SystemExit):
        run(*words, "--name=cut", RECORD, "--callbacks.dies_at=47")
    run(*words, "--name=cut", "--resume", "--callbacks=[]")
    assert weights("whole") == weights("cut")


def test_its_scores_and_predictions_are_scikit_learns(run):
    done = run(*TINY, "--name=a")
    run("predict", "--ckpt_path=runs/a/checkpoints/best.ckpt")
    header, *rows = Path("runs/a/predictions.csv").read_text().splitlines()
    assert header == "index,0,1,2,3,4,5,6,7,8,9"
    probs = [[float(value) for value in row.split(",")[1:]] for row in rows]
    _, y = DigitsTogether(320, 200).load(Path(), "test")
    reference = roc_auc_score(y.numpy(), probs, average="macro")
    assert done.scores["test/auroc"] == pytest.approx(reference, abs=2e-3)  # rounded to 4 digits


def test_the_pictures_hold_what_the_labels_say():
    x, y = DigitsTogether(50, 10).load(Path(), "train")
    assert x.shape == (50, 1, 16, 16)
    pieces = x.view(50, 2, 8, 2, 8).transpose(2, 3).flatten(3).amax(3).flatten(1)  # (N, 4)
    assert ((pieces > 0).sum(1) >= y.sum(1)).all()
    assert set(y.unique().tolist()) == {0, 1}


@pytest.mark.slow
def test_the_stated_result(run):
    assert run(CONFIG, "--name=a").scores["test/auroc"] > 0.995
