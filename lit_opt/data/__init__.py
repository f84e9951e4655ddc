"""Data: uint8 in memory or in a mapped file, served, augmented and normalised a batch at a time.

The batch contract, all that the data and the model know of each other:
    x: float (B, C, H, W), normalised; for tables (B, F)
    y: int64 (B,) in [0, num_classes); after MixUp or CutMix soft: float (B, num_classes);
       for regression float (B, K)
"""

from lit_opt.data.folder import ImageFolder
from lit_opt.data.image_data import ImageData
from lit_opt.data.sources import (
    CIFAR10,
    CIFAR100,
    EMNIST,
    KMNIST,
    MNIST,
    Diabetes,
    Digits,
    FashionMNIST,
    Source,
)

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "EMNIST",
    "KMNIST",
    "MNIST",
    "Diabetes",
    "Digits",
    "FashionMNIST",
    "ImageData",
    "ImageFolder",
    "Source",
]
