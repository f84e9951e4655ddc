"""An endless stream: a plain LightningModule learns a formula from random questions."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset


def question(seed: int, number: int) -> tuple[Tensor, Tensor]:
    """x (8,) and y (1,), a function of seed and number; y is sin(x₀ + x₁) + x₂·x₃."""
    x = torch.randn(8, generator=torch.Generator().manual_seed(seed * 2**40 + number))
    return x, (x[0] + x[1]).sin()[None] + x[2] * x[3]


class Questions(IterableDataset[tuple[Tensor, Tensor]]):
    """Questions without an end; `state_dict` says which is next: a resumed run goes on there."""

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.number = seed, 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            self.number += 1
            yield question(self.seed, self.number - 1)

    def state_dict(self) -> dict[str, int]:
        return {"number": self.number}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.number = state_dict["number"]


class Stream(pl.LightningDataModule):
    """Trains on the stream, validates on 1,000 other questions.

    Args:
        batch_size: Questions a step.
    """

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Questions(), batch_size=self.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        questions: Any = [question(1, number) for number in range(1000)]
        return DataLoader(questions, batch_size=250)


class Student(pl.LightningModule):
    """An MLP, the mean squared error and Adam.

    Args:
        width: Of the two hidden layers.
        lr: Learning rate.
    """

    def __init__(self, width: int = 64, lr: float = 2e-3) -> None:
        super().__init__()
        self.lr = lr
        hidden = [nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        self.net = nn.Sequential(*hidden, nn.Linear(width, 1))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch  # (B, 8), (B, 1)
        loss = F.mse_loss(self.net(x), y)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/loss", F.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.lr)
