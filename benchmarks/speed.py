"""A training epoch of lit-opt beside a bare loop, the tutorial's and Lightning as documented.

    taskset -c 0 python benchmarks/speed.py --data_dir data --rounds 7
    python benchmarks/speed.py --nets MLP ConvNet --threads 1 2

Every variant runs once a round, in the same process, between two bare loops; the table gives
medians over the rounds of its time against the mean of those two, with the smallest and the
largest, and the bare loop's µs a sample. A scored epoch has a validation and a test. On a GPU, if
there is one. Fashion-MNIST from `data_dir`, or made-up files of its shape where it is absent.
"""

import argparse
import contextlib
import io
import itertools
import os
import runpy
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lit_opt.engine.cli.quiet import quiet_loggers, quiet_warnings

quiet_warnings()
import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchmetrics.classification import MulticlassAccuracy
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from lit_opt import models
from lit_opt.engine.cli.main import main as lit_opt

quiet_loggers()
program = runpy.run_path(str(Path(__file__).parents[1] / "train.py"))["program"]
LR = 0.01
Setting = argparse.Namespace
Variant = Callable[[Setting, nn.Module], float]


def bare(s: Setting, net: nn.Module) -> float:
    """In-memory tensors, fused SGD, the same counts as lit-opt; nothing else."""
    net = net.to(s.device, memory_format=torch.contiguous_format)
    images, labels = s.images.to(s.device), s.labels.to(s.device)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, fused=True)
    correct = torch.tensor(0, device=s.device)
    loss_sum = torch.tensor(0.0, device=s.device)
    began = time.perf_counter()
    for rows in torch.randperm(len(labels), device=s.device).split(s.batch_size):
        x = images.index_select(0, rows).float().mul(1 / 90).add_(-0.8)
        y = labels.index_select(0, rows)
        logits = net(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        correct += (logits.argmax(1) == y).sum()
        loss_sum += loss.detach() * len(y)
    correct.item()
    return time.perf_counter() - began


def tutorial(s: Setting, net: nn.Module, scored: bool = False) -> float:
    """torchvision's data set, ToTensor and a DataLoader, as in the tutorial."""
    train = FashionMNIST(s.data_dir, transform=ToTensor())
    loader = DataLoader(Subset(train, range(s.samples)), s.batch_size, shuffle=True)
    net = net.to(s.device)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    cost_function = nn.CrossEntropyLoss()
    began = time.perf_counter()
    for inputs, labels in loader:
        net.train()
        optimizer.zero_grad()
        loss = cost_function(net(inputs.to(s.device)), labels.to(s.device))
        loss.backward()
        optimizer.step()
    if scored:
        test = FashionMNIST(s.data_dir, train=False, transform=ToTensor())
        _score(s, net, DataLoader(Subset(train, range(54_000, 60_000)), s.batch_size))
        _score(s, net, DataLoader(test, s.batch_size))
    loss.item()
    return time.perf_counter() - began


def _score(s: Setting, net: nn.Module, loader: DataLoader[Any]) -> None:
    net.eval()
    loss = correct = 0.0
    with torch.no_grad():
        for inputs, labels in loader:
            inputs, labels = inputs.to(s.device), labels.to(s.device)
            outputs = net(inputs)
            loss += F.cross_entropy(outputs, labels).item()
            correct += (outputs.argmax(1) == labels).float().sum().item()


def tutorial_scored(s: Setting, net: nn.Module) -> float:
    return tutorial(s, net, scored=True)


class Documented(pl.LightningModule):
    """The module of Lightning's documentation: loss and accuracy logged in every step."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.accuracy = net, MulticlassAccuracy(10, average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        logits = self.net(x)
        loss = F.cross_entropy(logits, y)
        self.accuracy(logits, y)
        self.log("train_loss", loss, prog_bar=True)
        self.log("train_acc", self.accuracy, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=LR)


class EpochTime(pl.Callback):
    began = seconds = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        EpochTime.began = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        EpochTime.seconds = time.perf_counter() - EpochTime.began


def documented(s: Setting, net: nn.Module) -> float:
    data = Subset(FashionMNIST(s.data_dir, transform=ToTensor()), range(s.samples))
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(max_epochs=1, default_root_dir=folder, callbacks=[EpochTime()])
        trainer.fit(Documented(net), DataLoader(data, s.batch_size, shuffle=True))
    return EpochTime.seconds


def ours(s: Setting, net: nn.Module, *options: str) -> float:
    """The command line with all its defaults: progress, curves, checkpoints, exact scores.

    The time ends before `last.ckpt` is written. Groups of steps end with the epoch.
    """
    return lit_opt_epoch(s, "--max_steps", "--limit_val_batches", "0", *options)


def ours_scored(s: Setting, net: nn.Module) -> float:
    return lit_opt_epoch(s, "--limit_train_batches", "--callbacks+", "TestEveryEpoch")


def lit_opt_epoch(s: Setting, length: str, *options: str) -> float:
    """`length`: the option that ends the epoch after as many batches as the other variants have."""
    with tempfile.TemporaryDirectory() as folder:
        words = (
            f"--dataset FashionMNIST --data_dir {s.data_dir} --net {s.net} --optimizer SGD "
            f"--lr {LR} --batch_size {s.batch_size} --epochs 1 --no_test "
            f"--default_root_dir {folder} {length} {len(s.labels) // s.batch_size}"
        )
        last = ("--callbacks+", f"{__name__}.EpochTime")
        lit_opt(replace(program, allow=[__name__]), args=[*words.split(), *options, *last])
        return EpochTime.seconds


def with_options(*options: str) -> Variant:
    return lambda s, net: ours(s, net, *options)


VARIANTS: dict[str, Variant] = {
    "bare loop": bare,
    "tutorial": tutorial,
    "Lightning documented": documented,
    "lit-opt": ours,
    "lit-opt, 32 steps in one": with_options("--steps_per_execution", "32"),
    "lit-opt, bf16-mixed": with_options("--precision", "bf16-mixed"),
    "tutorial, scored": tutorial_scored,
    "lit-opt, scored": ours_scored,
}


def make_data(folder: Path) -> None:
    """Files in torchvision's layout: 60,000 and 10,000 images of noise."""
    raw = folder / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 60_000), ("t10k", 10_000)):
        head = b"".join(n.to_bytes(4, "big") for n in (0x803, count, 28, 28))
        (raw / f"{name}-images-idx3-ubyte").write_bytes(head + os.urandom(count * 784))
        head = b"".join(n.to_bytes(4, "big") for n in (0x801, count))
        labels = bytes(byte % 10 for byte in os.urandom(count))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(head + labels)


def measure(s: Setting) -> dict[str, list[float]]:
    """Of every variant in every round: its time over that of the bare loops before and after it.

    The first round is not counted; "bare" holds the bare loop's seconds.
    """
    results: dict[str, list[float]] = {name: [] for name in ["bare", *s.only]}
    for round_ in range(s.rounds + 1):
        before = timed(bare, s, round_)
        for name in s.only:
            taken, after = timed(VARIANTS[name], s, round_), timed(bare, s, round_)
            if round_:
                results["bare"].append(after)
                results[name].append(taken / statistics.mean([before, after]))
            before = after
    return results


def timed(variant: Variant, s: Setting, seed: int) -> float:
    torch.manual_seed(seed)
    net = getattr(models, s.net)()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return variant(s, net)


def report(s: Setting, results: dict[str, list[float]]) -> None:
    micro = 1e6 * statistics.median(results.pop("bare")) / len(s.labels)
    print(
        f"\n{s.net}, batch {s.batch_size}, {s.thread} thread(s), {s.device}; "
        f"bare loop {micro:.1f} µs a sample"
    )
    table = dict(results)
    for name, times in results.items():
        theirs = results.get("tutorial, scored" if "scored" in name else "tutorial")
        if theirs and name.startswith("lit-opt"):
            table[f"tutorial / {name}"] = [a / b for a, b in zip(theirs, times, strict=True)]
    for name, ratios in table.items():
        print(f"  {name:36} {summary(ratios)}", flush=True)


def summary(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):5.2f}   ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--nets", nargs="+", default=["MLP"], help="MLP, ConvNet, ResNet9")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--samples", type=int, default=12_288, help="a multiple of the batch sizes")
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    s = parser.parse_args()
    s.device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        if not (Path(s.data_dir) / "FashionMNIST/raw").is_dir():
            make_data(Path(folder))
            s.data_dir = folder
        s.data_dir = str(Path(s.data_dir).resolve())
        train = FashionMNIST(s.data_dir)
        s.images, s.labels = train.data[: s.samples, None], train.targets[: s.samples]
        for case in itertools.product(s.threads, s.nets, s.batch_sizes):
            s.thread, s.net, s.batch_size = case
            torch.set_num_threads(s.thread)
            report(s, measure(s))


if __name__ == "__main__":
    main()
