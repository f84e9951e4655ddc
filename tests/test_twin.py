"""The three loops equal the tutorial's plain PyTorch loop: losses, gradients, metrics."""

import copy
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from lit_opt.datamodule import ImageData
from lit_opt.models import MLP
from lit_opt.module import LitModule
from lit_opt.sources import Digits

SEED, EPOCHS, BATCH, LR = 7, 4, 100, 0.1
EXACT = {"atol": 1e-6, "rtol": 1e-6}


@dataclass
class Record:
    losses: list[float] = field(default_factory=list)
    gradients: list[list[Tensor]] = field(default_factory=list)
    val: list[tuple[float, float]] = field(default_factory=list)
    test: tuple[float, float] = (0.0, 0.0)


def evaluate(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """The tutorial's validation and test loop: average loss and accuracy over samples."""
    model.eval()
    total_loss, correct, total = 0.0, 0.0, 0
    with torch.no_grad():
        for inputs, labels in batches:
            pred = model(inputs)
            total_loss += nn.CrossEntropyLoss(reduction="sum")(pred, labels).item()
            correct += (pred.argmax(1) == labels).type(torch.float).sum().item()
            total += len(labels)
    return total_loss / total, correct / total


def plain_loop(model: nn.Module, train: Any, val: Any, test: Any) -> Record:
    """The tutorial's loop, its bugs mended; nothing of lit-opt or Lightning in it."""
    record = Record()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    cost_function = nn.CrossEntropyLoss()
    x, y = train
    for epoch in range(EPOCHS):
        seed = 1_000_003 * SEED + epoch  # of lit_opt.engine.loading.loader.EpochSampler
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
        for rows in order.split(BATCH):
            model.train()
            optimizer.zero_grad()
            loss = cost_function(model(x[rows]), y[rows])
            loss.backward()
            record.gradients.append([p.grad.clone() for p in model.parameters()])
            optimizer.step()
            record.losses.append(loss.item())
        record.val.append(evaluate(model, [(val[0], val[1])]))
    record.test = evaluate(model, [(test[0], test[1])])
    return record


class Recorder(pl.Callback):
    def __init__(self) -> None:
        self.record = Record()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.record.gradients.append([p.grad.clone() for p in pl_module.parameters()])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.record.losses.append(outputs["loss"].item())

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.record.val.append(pair(trainer, "val"))

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.record.test = pair(trainer, "test")


def pair(trainer: pl.Trainer, stage: str) -> tuple[float, float]:
    metrics = trainer.callback_metrics
    return metrics[f"{stage}/loss"].item(), metrics[f"{stage}/acc"].item()


def normalised_splits(data: ImageData) -> list[tuple[Tensor, Tensor]]:
    """The splits as plain tensors; mean and std of the training split, computed by hand."""
    data.setup("fit")
    data.setup("test")
    raw = [data.splits[name] for name in ("train", "val", "test")]
    pairs = [split[torch.arange(len(split))] for split in raw]
    train = pairs[0][0].double() / 255
    mean, std = train.mean(), train.std(correction=0)
    return [(((x.double() / 255 - mean) / std).float(), y) for x, y in pairs]


@pytest.fixture(scope="module")
def twins() -> tuple[Record, Record]:
    torch.manual_seed(SEED)
    net = MLP(in_shape=(1, 8, 8), hidden=(64, 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PL_GLOBAL_SEED", str(SEED))
        data = ImageData(Digits(), batch_size=BATCH)
        plain = plain_loop(copy.deepcopy(net), *normalised_splits(data))
        recorder = Recorder()
        model = LitModule(net, optimizer={"name": "SGD", "momentum": 0.9, "fused": False}, lr=LR)
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[recorder],
        )
        trainer.fit(model, data)
        trainer.test(model, data, verbose=False)
    return plain, recorder.record


def test_train_losses_are_the_plain_loops(twins):
    plain, ours = twins
    assert len(plain.losses) == EPOCHS * 13
    torch.testing.assert_close(ours.losses, plain.losses, **EXACT)
    assert plain.losses[-1] < plain.losses[0] / 4


def test_gradients_are_the_plain_loops(twins):
    plain, ours = twins
    torch.testing.assert_close(ours.gradients, plain.gradients, **EXACT)


def test_validation_is_the_plain_loops(twins):
    plain, ours = twins
    torch.testing.assert_close(ours.val, plain.val, **EXACT)
    assert len(plain.val) == EPOCHS


def test_test_is_the_plain_loops(twins):
    plain, ours = twins
    torch.testing.assert_close(ours.test, plain.test, **EXACT)
    assert 0.9 < plain.test[1] < 1
