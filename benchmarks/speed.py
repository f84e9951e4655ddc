"""A training epoch of lit-opt beside a bare loop, the tutorial's and Lightning as documented.

    taskset -c 0 python benchmarks/speed.py --data_dir data --rounds 7

Every variant runs once a round; the table gives medians over the rounds of the time against the
bare loop's in the same round, with the smallest and the largest, and the bare loop's µs a sample.
Fashion-MNIST from `data_dir`, or made-up files of its shape where it is absent.
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lit_opt.quiet import quiet_loggers, quiet_warnings

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
from lit_opt.cli import main as lit_opt

quiet_loggers()
LR = 0.01
Setting = argparse.Namespace


def bare(s: Setting, net: nn.Module) -> float:
    """In-memory tensors, fused SGD, the same counts as lit-opt; nothing else."""
    images, labels = s.images, s.labels
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, fused=True)
    correct, loss_sum = torch.tensor(0), torch.tensor(0.0)
    began = time.perf_counter()
    for rows in torch.randperm(len(labels)).split(s.batch_size):
        x = images.index_select(0, rows).float().mul(1 / 90).add_(-0.8)
        y = labels.index_select(0, rows)
        logits = net(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        correct += (logits.argmax(1) == y).sum()
        loss_sum += loss.detach() * len(y)
    return time.perf_counter() - began


def tutorial(s: Setting, net: nn.Module) -> float:
    """torchvision's data set, ToTensor and a DataLoader, as in the tutorial."""
    data = Subset(FashionMNIST(s.data_dir, transform=ToTensor()), range(s.samples))
    loader = DataLoader(data, s.batch_size, shuffle=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    cost_function = nn.CrossEntropyLoss()
    began = time.perf_counter()
    for inputs, labels in loader:
        net.train()
        optimizer.zero_grad()
        loss = cost_function(net(inputs), labels)
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


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
    seconds = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        EpochTime.seconds = time.perf_counter() - self.began


def documented(s: Setting, net: nn.Module) -> float:
    data = Subset(FashionMNIST(s.data_dir, transform=ToTensor()), range(s.samples))
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=1, default_root_dir=folder, callbacks=[EpochTime()]
        )
        trainer.fit(Documented(net), DataLoader(data, s.batch_size, shuffle=True))
    return EpochTime.seconds


def ours(s: Setting, net: nn.Module, *options: str) -> float:
    """The command line with all its defaults: progress, curves, checkpoints, exact scores."""
    with tempfile.TemporaryDirectory() as folder:
        lit_opt(
            [
                *("--dataset=FashionMNIST", f"--data_dir={s.data_dir}", "--optimizer=SGD"),
                *(f"--lr={LR}", f"--net={s.net}", f"--batch_size={s.batch_size}", "--epochs=1"),
                f"--max_steps={len(s.labels) // s.batch_size}",
                *(
                    "--accelerator=cpu",
                    "--no_test",
                    "--limit_val_batches=0",
                    f"--default_root_dir={folder}",
                ),
                f"--callbacks+={__name__}.EpochTime",
                *options,
            ]
        )
    return EpochTime.seconds


def ours_bf16(s: Setting, net: nn.Module) -> float:
    return ours(s, net, "--precision=bf16-mixed")


def ours_in_groups(s: Setting, net: nn.Module) -> float:
    return ours(s, net, "--steps_per_execution=8")


VARIANTS: dict[str, Callable[[Setting, nn.Module], float]] = {
    "bare loop": bare,
    "tutorial": tutorial,
    "Lightning documented": documented,
    "lit-opt": ours,
    "lit-opt, 8 steps in one": ours_in_groups,
    "lit-opt bf16-mixed": ours_bf16,
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
    """Seconds of every variant in every round, the first round not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for round_ in range(s.rounds + 1):
        for name, variant in VARIANTS.items():
            torch.manual_seed(round_)
            net = getattr(models, s.net)()
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                taken = variant(s, net)
            if round_:
                seconds[name].append(taken)
    return seconds


def report(s: Setting, seconds: dict[str, list[float]]) -> None:
    micro = 1e6 * statistics.median(seconds["bare loop"]) / len(s.labels)
    print(
        f"\n{s.net}, batch {s.batch_size}, {s.threads} thread(s); bare loop {micro:.0f} µs a sample"
    )
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds["bare loop"], strict=True)]
        middle = statistics.median(ratios)
        print(f"  {name:22} {middle:5.2f}   ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--net", default="MLP", choices=["MLP", "ConvNet"])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--samples", type=int, default=12_288, help="a multiple of the batch sizes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    s = parser.parse_args()
    torch.set_num_threads(s.threads)
    with tempfile.TemporaryDirectory() as folder:
        if not (Path(s.data_dir) / "FashionMNIST/raw").is_dir():
            make_data(Path(folder))
            s.data_dir = folder
        s.data_dir = str(Path(s.data_dir).resolve())
        train = FashionMNIST(s.data_dir)
        s.images, s.labels = train.data[: s.samples, None], train.targets[: s.samples]
        for batch_size in s.batch_sizes:
            s.batch_size = batch_size
            report(s, measure(s))


if __name__ == "__main__":
    main()
