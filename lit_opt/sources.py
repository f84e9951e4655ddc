"""Data sets. To bring your own: subclass `Source`, override `.load()`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lit_opt.engine.base.targets import Regression
from lit_opt.engine.loading.image_folder import ImageFolder
from lit_opt.engine.loading.image_table import ImageTable
from lit_opt.engine.loading.source import Source
from lit_opt.engine.loading.split import fixed_split
from lit_opt.engine.loading.table import CSV
from lit_opt.engine.loading.torchvision_sources import (
    CIFAR10,
    CIFAR100,
    EMNIST,
    KMNIST,
    MNIST,
    FashionMNIST,
)

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "CSV",
    "EMNIST",
    "KMNIST",
    "MNIST",
    "Diabetes",
    "Digits",
    "FashionMNIST",
    "ImageFolder",
    "ImageTable",
    "Source",
]


class Digits(Source):
    """8x8 digits that come with scikit-learn: 1438 to train on, 359 to test on; no files."""

    in_shape = (1, 8, 8)
    num_classes = 10
    classes = tuple("0123456789")

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)  # float (1797, 64) in 0..16, int (1797,)
        x = torch.from_numpy(images).view(-1, 1, 8, 8).mul(255 / 16).round().to(torch.uint8)
        return fixed_split(x, torch.from_numpy(labels).long(), split)


class Diabetes(Source):
    """Regression on 10 raw features of 442 patients: 354 to train on, 88 to test on; no files.

    y: float (N, 1), disease progression after one year (25 to 346) as (progression - 152) / 77.
    """

    in_shape = (10,)
    num_classes = 1
    targets = Regression()

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        from sklearn.datasets import load_diabetes

        features, progression = load_diabetes(return_X_y=True, scaled=False)
        x, y = torch.from_numpy(features).float(), torch.from_numpy(progression).float()
        return fixed_split(x, (y[:, None] - 152) / 77, split)
