"""The three loops equal the tutorial's plain PyTorch loop, on the path that the command line takes.

Training losses, gradients and weights are equal bit for bit, validation and test to 1e-6, as they
are sums over batches.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from lit_opt.datamodule import ImageData

SEED, EPOCHS, BATCH, LR = 7, 4, 100, 0.1
BATCHES = 13  # an epoch of Digits' 1,294 training samples
CLOSE = {"atol": 1e-6, "rtol": 1e-6}


@dataclass
class Record:
    losses: list[float] = field(default_factory=list)
    gradients: list[list[Tensor]] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)  # after the last step
    val: list[tuple[float, float]] = field(default_factory=list)  # loss and accuracy
    test: list[tuple[float, float]] = field(default_factory=list)


def plain_loop(model: nn.Module, data: ImageData, sgd: bool, bf16: bool, accumulate: int) -> Record:
    """The tutorial's loop, its bugs mended; nothing of lit-opt or Lightning in it."""
    (x, y), val, test = normalised_splits(data)
    record, parameters, cost_function = Record(), list(model.parameters()), nn.CrossEntropyLoss()
    adamw = torch.optim.AdamW(parameters, lr=LR / 100, fused=True)
    optimizer = torch.optim.SGD(parameters, lr=LR, momentum=0.9, fused=True) if sgd else adamw
    for epoch in range(EPOCHS):
        seed = 1_000_003 * SEED + epoch  # of loader.EpochSampler
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
        model.train()
        for number, rows in enumerate(order.split(BATCH), start=1):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = cost_function(model(x[rows]), y[rows]) / accumulate
            loss.backward()
            record.losses.append(loss.item())
            if number % accumulate == 0 or number == BATCHES:
                record.gradients.append([p.grad.clone() for p in parameters])
                optimizer.step()
                optimizer.zero_grad()
        record.val.append(evaluate(model, *val, bf16))
    record.test.append(evaluate(model, *test, bf16))
    record.weights = [p.detach() for p in parameters]
    return record


def evaluate(model: nn.Module, inputs: Tensor, labels: Tensor, bf16: bool) -> tuple[float, float]:
    """The tutorial's validation and test loop: average loss and accuracy over samples."""
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        pred = model(inputs)
        loss = nn.CrossEntropyLoss()(pred, labels)
    return loss.item(), (pred.argmax(1) == labels).type(torch.float).mean().item()


def normalised_splits(data: ImageData) -> list[tuple[Tensor, Tensor]]:
    """The splits as plain tensors, which are those normalised by hand but for the last bit."""
    data.setup("test")
    splits = [data.splits[name] for name in ("train", "val", "test")]
    pairs = [(split.x[split.rows], split.y[split.rows]) for split in splits]
    train = pairs[0][0].double() / 255
    by_hand = (train - train.mean()) / train.std(correction=0)
    torch.testing.assert_close(data.normalizer(pairs[0][0]), by_hand.float(), **CLOSE)
    return [(data.normalizer(x), y) for x, y in pairs]


class Recorder(pl.Callback):
    """Leaves the step as short as it is: no hook between the gradients and the update."""

    def __init__(self) -> None:
        self.record = Record()

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.initial = copy.deepcopy(pl_module.net)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.record.losses.append(outputs["loss"].item())
        self.record.weights = [p.detach().clone() for p in pl_module.parameters()]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.record.val.append(scores(trainer, "val"))

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.record.test.append(scores(trainer, "test"))


class GradientRecorder(Recorder):
    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.record.gradients.append([p.grad.clone() for p in pl_module.parameters()])


def scores(trainer: pl.Trainer, stage: str) -> tuple[float, float]:
    metrics = trainer.callback_metrics
    return metrics[f"{stage}/loss"].item(), metrics[f"{stage}/acc"].item()


def same(ours: Iterable[Tensor], plain: Iterable[Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(ours, plain, strict=True))


@pytest.fixture
def twins(run):
    """What the command line with these words has recorded, and what the plain loop."""

    def twins(words: str, sgd: bool, recorder: str = "Recorder") -> tuple[Record, Record]:
        words += f" --batch_size={BATCH} --seed={SEED} --epochs={EPOCHS} --no_test"
        words += (
            f" --net.hidden=[64,64] --num_sanity_val_steps=0 --callbacks+={__name__}.{recorder}"
        )
        words += f" --optimizer=SGD --optimizer.momentum=0.9 --lr={LR}" if sgd else ""
        done = run(*words.split())
        [ours] = [c for c in done.trainer.callbacks if isinstance(c, Recorder)]
        done.trainer.test(done.model, done.datamodule, verbose=False)
        bf16, accumulate = "bf16" in words, 4 if "accumulate" in words else 1
        return ours.record, plain_loop(ours.initial, done.datamodule, sgd, bf16, accumulate)

    return twins


@pytest.mark.parametrize("sgd", [False, True], ids=["AdamW", "SGD"])
@pytest.mark.parametrize("words", ["", "--precision=bf16-mixed", "--accumulate_grad_batches=4"])
def test_every_loss_and_score_is_the_plain_loops(twins, words, sgd):
    ours, plain = twins(words, sgd)
    assert ours.losses == plain.losses
    assert len(plain.losses) == EPOCHS * BATCHES
    assert plain.losses[-1] < 0.9 * plain.losses[0]
    assert same(ours.weights, plain.weights)
    torch.testing.assert_close((ours.val, ours.test), (plain.val, plain.test), **CLOSE)
    assert 0.4 < plain.test[0][1] < 1


def test_every_gradient_is_the_plain_loops(twins):
    ours, plain = twins("", sgd=True, recorder="GradientRecorder")
    assert ours.losses == plain.losses
    assert same(chain(*ours.gradients), chain(*plain.gradients))


def test_an_average_of_the_weights_leaves_the_raw_ones_as_they_are(twins):
    ours, plain = twins("--ema=0.9", sgd=True)
    assert ours.losses == plain.losses
    assert same(ours.weights, plain.weights)


def test_steps_in_groups_are_the_plain_loops(twins):
    ours, plain = twins("--steps_per_execution=4", sgd=False)
    ends = [step for step in range(EPOCHS * BATCHES) if step % BATCHES in (3, 7, 11, 12)]
    assert ours.losses == [plain.losses[step] for step in ends]
    assert same(ours.weights, plain.weights)
    torch.testing.assert_close(ours.val, plain.val, **CLOSE)
