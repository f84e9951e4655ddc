"""The U-Net on shapes: a plain loop's losses, image and mask flipped alike, a kill, a score."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from recorder import Recorder, weights

from examples.segmentation.shapes import Shapes, UNet

CONFIG = f"--config={ROOT}/examples/segmentation/config.yaml"
FEW = {"class_path": "examples.segmentation.shapes.Shapes"}
FEW["init_args"] = {"size": 16, "train": 64, "test": 16}
TINY = [CONFIG, f"--dataset={json.dumps(FEW)}", "--net.width=4", "--batch_size=8", "--epochs=2"]
RECORD = "--callbacks+=recorder.Recorder"


def test_its_losses_are_a_plain_loops(run):
    plain = ["--transforms=[]", "--val_fraction=0", "--scheduler=null"]
    plain += [
        "--optimizer=SGD",
        "--lr=0.1",
        "--seed=7",
        "--epochs=1",
        "--no_test",
        "--normalize=false",
    ]
    done = run(*TINY, *plain, RECORD)
    [recorder] = [c for c in done.trainer.callbacks if isinstance(c, Recorder)]
    net, (x, y) = recorder.initial.train(), Shapes(16, 64, 16).load(Path(), "train")
    optimizer, losses = torch.optim.SGD(net.parameters(), 0.1, fused=True), []
    order = torch.randperm(64, generator=torch.Generator().manual_seed(7 * 1_000_003))
    for rows in order.split(8):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x[rows].float() * torch.tensor(1 / 255)), y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert recorder.losses == pytest.approx(losses, rel=1e-5)
    assert len(losses) == 8


def test_mask_and_picture_are_flipped_alike(run):
    data = run(*TINY, "--limit_train_batches=1", "--no_test", "--normalize=false").datamodule
    x, y = data.source.load(Path(), "train")
    loader = data.train_dataloader()
    order = data.splits["train"].rows[loader.sampler.order()]
    batches = list(loader)
    pictures, masks = (torch.cat(parts) for parts in zip(*batches, strict=True))
    x, y = x[order], y[order]
    same = (pictures == x).flatten(1).all(1)
    assert 0 < same.sum() < len(same)
    for at, flip in ((same, lambda part: part), (~same, lambda part: part.flip(-1))):
        assert torch.equal(pictures[at], flip(x)[at])
        assert torch.equal(masks[at], flip(y)[at])


def test_killed_and_resumed_it_ends_as_the_uninterrupted_run(run):
    words = [*TINY, "--save_every=3", "--no_test"]
    run(*words, "--name=whole")
    with pytest.raises(SystemExit):
        run(*words, "--name=cut", f"{RECORD}", "--callbacks.dies_at=13")
    run(*words, "--name=cut", "--resume", "--callbacks=[]")
    assert weights("whole") == weights("cut")


def test_predictions_are_masks(run):
    run(*TINY, "--name=a", "--epochs=1")
    run("predict", "--ckpt_path=runs/a/checkpoints/best.ckpt")
    import numpy as np

    assert np.load("runs/a/predictions.npy").shape == (16, 16, 16)


def test_shapes_of_the_unet():
    assert UNet(3, 5, 4)(torch.randn(2, 3, 16, 24)).shape == (2, 5, 16, 24)


@pytest.mark.slow
def test_the_stated_result(run):
    assert run(CONFIG, "--name=a").scores["test/jaccard_index"] > 0.75
