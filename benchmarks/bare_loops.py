"""The training step of every example beside a bare PyTorch loop with the same net and data.

    taskset -c 0 python benchmarks/bare_loops.py --rounds 7
    python benchmarks/bare_loops.py --only char_lm --steps 100

Each round trains lit-opt's run between two bare loops, in the same process; printed are the bare
loop's milliseconds a step and the median over the rounds of lit-opt's time over the mean of those
two, with the smallest and the largest. Neither validates, both count the same metrics, and what is
written between two epochs is not counted. The first round isn't, either. "Lightning alone" is the
same net and optimizer in the shortest LightningModule and a Trainer of which everything is switched
off (`barebones=True`), on batches that lie ready, without a metric: what its loop costs at least.
With --cpu the time is that of the processor, which other programs on the machine disturb less.
"""

import argparse
import contextlib
import functools
import io
import logging
import runpy
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from lit_opt.engine.cli.quiet import quiet_loggers, quiet_warnings

quiet_warnings()
import lightning.pytorch as pl
import torch
import torch.nn.functional as F
import torchmetrics.classification as tm
from torch import nn
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from examples.char_lm.gpt import GPT, PythonManual
from examples.finetune.halves import Half, pretrained
from examples.gan.digits import GAN, Copies
from examples.multilabel.patterns import DigitsTogether
from examples.segmentation.shapes import Shapes, UNet
from examples.stream.stream import Stream, Student
from examples.table.loans import Loans
from lit_opt.engine.cli.main import main as lit_opt
from lit_opt.engine.loading.normalize import Normalize
from lit_opt.models import MLP, ConvNet
from lit_opt.sources import Digits

quiet_loggers()
now = time.perf_counter
# Seconds that so many steps take.
Loop = Callable[[int], float]
program = runpy.run_path(str(ROOT / "train.py"))["program"]


def char_lm(steps: int) -> float:
    """Seconds of as many steps; loss and accuracy are counted, as lit-opt does."""
    source = PythonManual()
    (x, y), net = source.load(Path(), "train"), GPT(source.num_classes)
    decay = {"betas": (0.9, 0.99), "weight_decay": 0.1}
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=True, **decay)
    loss_sum, correct = torch.tensor(0.0), torch.tensor(0)
    began = now()
    for rows in torch.randperm(len(y))[: steps * 16].split(16):
        logits = net(x[rows])
        loss = F.cross_entropy(logits.flatten(0, 1), y[rows].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        loss_sum += loss.detach()
        correct += (logits.argmax(2) == y[rows]).sum()
    return now() - began


def stream_alone(steps: int) -> float:
    return by_lightning(Student(), Stream().train_dataloader(), steps)


def stream(steps: int) -> float:
    net, loader = Student().net, iter(Stream().train_dataloader())
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    began = now()
    for _ in range(steps):
        x, y = next(loader)
        loss = F.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return now() - began


class Shortest(pl.LightningModule):
    """One optimizer over one net, and nothing else."""

    def __init__(self, net: nn.Module, loss: Any, optimizer: Any) -> None:
        super().__init__()
        self.net, self.loss, self.optimizer = net, loss, optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return self.loss(self.net(x), y)

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.net.parameters())


def by_lightning(model: pl.LightningModule, batches: Any, steps: int = -1) -> float:
    """Seconds of a fit on these batches by a Trainer that does nothing but train."""
    TrainingTime.seconds = 0.0
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="You defined a `validation_step`")
    options: Any = {"max_epochs": 1, "max_steps": steps, "barebones": True, "accelerator": "cpu"}
    trainer = pl.Trainer(callbacks=[TrainingTime()], **options)
    trainer.fit(model, batches)
    return TrainingTime.seconds


def supervised(
    source: Any,
    untrained: nn.Module,
    loss: Any,
    metrics: list[Any],
    lr: float,
    batch_size: int = 64,
    transform: Any = None,
    schedule: Any = None,
) -> tuple[Loop, Loop]:
    """The loop of a source in memory whose batches are normalised, and Lightning's alone."""
    x, y = source.load(Path(tempfile.gettempdir()), "train")
    normalize = Normalize(x, torch.arange(len(x)), True, None, (), source.nan_is_missing)

    adamw = functools.partial(torch.optim.AdamW, lr=lr, fused=True)

    def loop(steps: int) -> float:
        net = deepcopy(untrained)  # one that has learned all has other, slower numbers
        optimizer = adamw(net.train().parameters())
        scheduler = schedule(optimizer, lr, total_steps=steps + 1) if schedule else None
        loss_sum = torch.tensor(0.0)
        began = now()
        rows = torch.cat([torch.randperm(len(y)) for _ in range(1 + steps * batch_size // len(y))])
        for chosen in rows[: steps * batch_size].split(batch_size):
            inputs, target = x[chosen], y[chosen]
            if transform:
                inputs, target = transform(inputs, target)
            outputs = net(normalize(inputs))
            value = loss(outputs, target)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            if scheduler:
                scheduler.step()
            loss_sum += value.detach()
            for metric, of in metrics:
                metric.update(of(outputs.detach()), target.long())
        return now() - began

    def alone(steps: int) -> float:
        chosen = torch.randint(len(y), (steps, batch_size))
        batches: Any = [(normalize(x[rows]), y[rows]) for rows in chosen]
        model = Shortest(deepcopy(untrained), loss, adamw)
        return by_lightning(model, DataLoader(batches, batch_size=None))

    return loop, alone


def multilabel() -> tuple[Loop, Loop]:
    labels = {"num_labels": 10, "validate_args": False}
    metrics = [tm.MultilabelAUROC(**labels), tm.MultilabelF1Score(**labels)]
    scored = [(m, torch.sigmoid) for m in [*metrics, tm.MultilabelAccuracy(**labels)]]
    net = ConvNet(1, 10)
    return supervised(DigitsTogether(), net, F.binary_cross_entropy_with_logits, scored, 5e-3)


def flipped(x: torch.Tensor, y: torch.Tensor) -> Any:
    """Pictures with their masks, one by one, as a data set would do it."""
    flip = v2.RandomHorizontalFlip()
    pairs = [flip(tv_tensors.Image(x), tv_tensors.Mask(y)) for x, y in zip(x, y, strict=True)]
    of_all = zip(*pairs, strict=True)
    return (torch.stack([one.as_subclass(torch.Tensor) for one in kind]) for kind in of_all)


def segmentation() -> tuple[Loop, Loop]:
    classes = {"num_classes": 4, "validate_args": False}
    metrics = [tm.MulticlassJaccardIndex(**classes), tm.MulticlassAccuracy(**classes)]
    scored = [(metric, lambda outputs: outputs.argmax(1)) for metric in metrics]
    return supervised(Shapes(), UNet(), F.cross_entropy, scored, 5e-3, transform=flipped)


def table() -> tuple[Loop, Loop]:
    source, classes = Loans(), {"num_classes": 2, "validate_args": False}
    source.download(Path(tempfile.gettempdir()))
    x, y = source.load(Path(tempfile.gettempdir()), "train")
    net = MLP(tuple(x.shape[1:]), 2, (64, 64), 0.2)
    weighted = functools.partial(F.cross_entropy, weight=len(y) / (2 * y.bincount()))
    metrics = [tm.MulticlassAUROC(**classes), tm.MulticlassAccuracy(**classes)]
    scored = [(metric, lambda outputs: outputs.softmax(1)) for metric in metrics]
    return supervised(source, net, weighted, scored, 3e-3, 256)


def autoencoder() -> tuple[Loop, Loop]:
    net, one_cycle = MLP((64,), 64, (128, 8, 128)), torch.optim.lr_scheduler.OneCycleLR
    return supervised(Copies(), net, F.mse_loss, [], 3e-3, schedule=one_cycle)


def finetune() -> tuple[Loop, Loop]:
    accuracy = tm.MulticlassAccuracy(5, validate_args=False), lambda outputs: outputs.argmax(1)
    return supervised(Half(), pretrained(), F.cross_entropy, [accuracy], 1e-3)


def gan() -> tuple[Loop, Loop]:
    x = Digits().load(Path(), "train")[0]  # type: ignore[index]
    normalize = Normalize(x, torch.arange(len(x)), True)

    def loop(steps: int) -> float:
        model = GAN()
        generator, critic = model.generator, model.critic
        nets = generator, critic
        optimizers = [torch.optim.Adam(net.parameters(), 1e-3, betas=(0.5, 0.99)) for net in nets]
        began = now()
        for chosen in torch.randint(len(x), (steps, 64)):
            real = normalize(x[chosen]).flatten(1)
            fake = generator(torch.randn(64, 16))
            loss = F.softplus(-critic(real)).mean() + F.softplus(critic(fake.detach())).mean()
            optimizers[1].zero_grad()
            loss.backward()
            optimizers[1].step()
            optimizers[0].zero_grad()
            F.softplus(-critic(fake)).mean().backward()
            optimizers[0].step()
        return now() - began

    def alone(steps: int) -> float:
        batches: Any = [(normalize(x[:64]), x[:64])] * steps
        return by_lightning(GAN(), DataLoader(batches, batch_size=None))

    return loop, alone


# The loops of each, its configuration, and how often the usual steps are trained.
BARE: dict[str, tuple[Callable[[], tuple[Loop, Loop | None]], str, int]] = {
    "char_lm": (lambda: (char_lm, None), "char_lm/config.yaml", 1),
    "stream": (lambda: (stream, stream_alone), "stream/config.yaml", 10),
    "multilabel": (multilabel, "multilabel/config.yaml", 2),
    "segmentation": (segmentation, "segmentation/config.yaml", 1),
    "table": (table, "table/config.yaml", 5),
    "finetune": (finetune, "finetune/pretrain.yaml", 1),
    "autoencoder": (autoencoder, "gan/autoencoder.yaml", 10),
    "gan": (gan, "gan/gan.yaml", 10),
}


class TrainingTime(pl.Callback):
    began = seconds = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        TrainingTime.began = now()

    def on_train_epoch_end(self, *_: Any) -> None:
        TrainingTime.seconds += now() - TrainingTime.began


def ours(config: str, steps: int) -> float:
    TrainingTime.seconds = 0.0
    counted = 2 * steps if config == "gan/gan.yaml" else steps  # one for each optimizer
    with tempfile.TemporaryDirectory() as folder:
        words = f"--config {ROOT}/examples/{config} --default_root_dir {folder} --max_epochs -1 "
        words += f"--max_steps {counted} --no_test --limit_val_batches 0 --val_fraction 0 "
        if config == "stream/config.yaml":
            words = words.replace("--val_fraction 0 ", "")
        words += f"--callbacks+ {__name__}.TrainingTime"
        allow = [*program.allow, __name__]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            lit_opt(replace(program, allow=allow), args=words.split())
        return TrainingTime.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(BARE), choices=BARE)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    if args.cpu:
        globals()["now"] = time.process_time
    torch.set_num_threads(args.threads)
    for example in args.only:
        make, config, times = BARE[example]
        (loop, alone), steps = make(), args.steps * times
        by_lit_opt, by_lightning_alone, bare = [], [], [loop(steps)]
        for _ in range(args.rounds + 1):
            taken = ours(config, steps)
            bare.append(loop(steps))
            by_lit_opt.append(taken / statistics.mean(bare[-2:]))
            if alone:
                by_lightning_alone.append(alone(steps) / bare[-1])
        print(f"{example:12} bare {1000 * statistics.median(bare) / steps:7.2f} ms a step", end="")
        print(f", lit-opt / bare {spread(by_lit_opt[1:])}", end="")
        print(
            f", Lightning alone / bare {spread(by_lightning_alone[1:])}" if alone else "",
            flush=True,
        )


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
