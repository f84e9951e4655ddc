"""Data sets that torchvision downloads and verifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import Classes
from lit_opt.engine.loading.source import Source


class _TorchVision(Source):
    """Files in torchvision's layout under data_dir; downloaded and verified by torchvision."""

    name: str  # in torchvision.datasets
    folder: str  # below data_dir
    targets = Classes()

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        if split == "val":
            return None
        data = self._open(data_dir, train=split == "train", download=False)
        self.classes = data.classes
        x, y = torch.as_tensor(data.data), torch.as_tensor(data.targets)
        x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)
        return x.contiguous(), y.long()

    def download(self, data_dir: Path) -> None:
        self._open(data_dir, train=False, download=True)  # fetches both, reads the smaller split

    def _open(self, data_dir: Path, **options: Any) -> Any:
        from torchvision import datasets

        try:
            return getattr(datasets, self.name)(data_dir, **options)
        except (OSError, RuntimeError) as error:  # absent or damaged, no network
            reason = str(error).partition("\n")[0].partition(". You can")[0].rstrip(":")
            raise UserError(
                f"{self.name} isn't complete in '{data_dir / self.folder}' ({reason});\n"
                "run once with a network (delete damaged files), or put torchvision's there,\n"
                f"or set --data_dir to the folder that has '{self.folder}'"
            ) from error


class MNIST(_TorchVision):
    """Handwritten digits, grey 28x28: 60,000 to train on, 10,000 to test on."""

    name, folder, in_shape, num_classes = "MNIST", "MNIST/raw", (1, 28, 28), 10


class FashionMNIST(_TorchVision):
    """Clothes, grey 28x28: 60,000 to train on, 10,000 to test on."""

    name, folder, in_shape, num_classes = "FashionMNIST", "FashionMNIST/raw", (1, 28, 28), 10


class KMNIST(_TorchVision):
    """Cursive Japanese characters, grey 28x28: 60,000 to train on, 10,000 to test on."""

    name, folder, in_shape, num_classes = "KMNIST", "KMNIST/raw", (1, 28, 28), 10


class EMNIST(_TorchVision):
    """Handwritten letters and digits, grey 28x28.

    Args:
        split: balanced (47 classes, 112,800 + 18,800 images), byclass (62 classes), bymerge (47),
            letters (26), digits or mnist (10).
    """

    name, folder, in_shape = "EMNIST", "EMNIST/raw", (1, 28, 28)

    def __init__(
        self,
        split: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"] = "balanced",
    ) -> None:
        self.split = split
        counts = {"balanced": 47, "byclass": 62, "bymerge": 47, "letters": 26}
        self.num_classes = counts.get(split, 10)

    def _open(self, data_dir: Path, **options: Any) -> Any:
        data = super()._open(data_dir, split=self.split, **options)
        data.data = data.data.mT  # the files hold the images transposed
        if self.split == "letters":  # and count letters from 1
            data.targets, data.classes = data.targets - 1, data.classes[1:]
        return data


class CIFAR10(_TorchVision):
    """Photographs, RGB 32x32: 50,000 to train on, 10,000 to test on."""

    name, folder, in_shape, num_classes = "CIFAR10", "cifar-10-batches-py", (3, 32, 32), 10


class CIFAR100(_TorchVision):
    """Photographs, RGB 32x32, 100 classes: 50,000 to train on, 10,000 to test on."""

    name, folder, in_shape, num_classes = "CIFAR100", "cifar-100-python", (3, 32, 32), 100
