"""A plain LightningModule with a plain DataLoader: through lit-opt beside by Lightning alone.

    taskset -c 0 python benchmarks/plain.py --rounds 7

Lightning alone is `Trainer.fit` with its defaults but a CSVLogger: progress bar, checkpoints. Both
train the same module on the same data, with a validation an epoch, lit-opt between two of the other
in every round; printed is the median of its time over the mean of those two, from the first step to
the last epoch's end, checkpoints written between them included. The first round is not counted.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from typing import Any

from lit_opt.engine.cli.quiet import quiet_loggers, quiet_warnings

quiet_warnings()
import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lit_opt.engine.cli.main import main as lit_opt

quiet_loggers()


class Plain(pl.LightningModule):
    """784-width-10, cross entropy, Adam; it measures its own training.

    Args:
        width: Of the hidden layer.
    """

    began = seconds = 0.0

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())

    def on_train_start(self) -> None:
        Plain.began = time.perf_counter()

    def on_train_end(self) -> None:
        Plain.seconds = time.perf_counter() - Plain.began


class Noise(pl.LightningDataModule):
    """Random numbers as a TensorDataset.

    Args:
        batch_size: Samples a step.
        steps: Steps an epoch.
    """

    def __init__(self, batch_size: int = 64, steps: int = 150) -> None:
        super().__init__()
        self.batch_size = batch_size
        samples = batch_size * steps
        self.data = TensorDataset(torch.randn(samples, 784), torch.randint(10, (samples,)))

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.data, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.data, 10 * self.batch_size)


def alone(args: argparse.Namespace, folder: str) -> None:
    trainer = pl.Trainer(max_epochs=args.epochs, logger=CSVLogger(folder), default_root_dir=folder)
    trainer.fit(Plain(args.width), Noise(args.batch_size, args.steps))


def ours(args: argparse.Namespace, folder: str) -> None:
    words = f"--epochs {args.epochs} --width {args.width} --batch_size {args.batch_size} "
    words += f"--steps {args.steps} --default_root_dir {folder} --no_test"
    lit_opt(Plain, Noise, words.split())


def timed(variant: Any, args: argparse.Namespace) -> float:
    silent = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, silent[0], silent[1]:
        variant(args, folder)
    return Plain.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    ratios, theirs = [], [timed(alone, args)]
    for _ in range(args.rounds + 1):
        taken = timed(ours, args)
        theirs.append(timed(alone, args))
        ratios.append(taken / statistics.mean(theirs[-2:]))
    ratios, step = ratios[1:], 1000 * statistics.median(theirs) / args.steps / args.epochs
    print(f"Lightning alone {step:.2f} ms a step with its validation; lit-opt / Lightning", end=" ")
    print(f"{statistics.median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
