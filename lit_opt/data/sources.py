"""Data sets. To bring your own: subclass `Source`, override `.load()`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lit_opt.errors import UserError


class Source:
    """A data set. To bring your own: subclass, override `.load()`.

    in_shape: (C, H, W) or (F,). num_classes: of targets (K) for regression. classes: their names,
    "0", "1", ... by default. State them where you can, then a net can be built before anything is
    read; what is None when it is asked for is taken from the training set.
    regression: whether y are targets, so that the loss is MSE unless it is given.
    """

    in_shape: tuple[int, ...] | None = None
    num_classes: int | None = None
    classes: Sequence[str] | None = None
    regression: bool = False

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        """Returns x, y of `split`: "train", "val" or "test"; None for "val" cuts it from "train".

        x: images uint8 (N, C, H, W) in 0..255, or features float32 (N, F)
        y: labels int64 (N,) in [0, num_classes), or targets float32 (N, K)
        """
        raise NotImplementedError(f"{type(self).__name__} must override load()")

    def download(self, data_dir: Path) -> None:
        """Fetches what `load` reads; called by one process, before `load`."""


class Digits(Source):
    """8x8 digits that come with scikit-learn: 1438 to train on, 359 to test on; no files."""

    in_shape = (1, 8, 8)
    num_classes = 10
    classes = tuple("0123456789")

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)  # float (1797, 64) in 0..16, int (1797,)
        x = torch.from_numpy(images).view(-1, 1, 8, 8).mul(255 / 16).round().to(torch.uint8)
        return _every_fifth_is_test(x, torch.from_numpy(labels).long(), split)


class Diabetes(Source):
    """Regression on 10 raw features of 442 patients: 354 to train on, 88 to test on; no files.

    y: float (N, 1), disease progression after one year (25 to 346) as (progression - 152) / 77.
    """

    in_shape = (10,)
    num_classes = 1
    regression = True

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        from sklearn.datasets import load_diabetes

        features, progression = load_diabetes(return_X_y=True, scaled=False)
        x, y = torch.from_numpy(features).float(), torch.from_numpy(progression).float()
        return _every_fifth_is_test(x, (y[:, None] - 152) / 77, split)


def _every_fifth_is_test(x: Tensor, y: Tensor, split: str) -> tuple[Tensor, Tensor] | None:
    """The fixed 80/20 split: within each class (regression: in all) every fifth sample is a test.

    No random numbers, so no version of anything can move a test sample into the training set.
    """
    if split == "val":
        return None
    by_class = torch.arange(len(y)) if y.is_floating_point() else y.argsort(stable=True)
    test = torch.zeros(len(y), dtype=torch.bool)
    test[by_class[4::5]] = True
    keep = test if split == "test" else ~test
    return x[keep], y[keep]


class _TorchVision(Source):
    """Files in torchvision's layout under data_dir; downloaded and verified by torchvision."""

    name: str  # in torchvision.datasets
    folder: str  # below data_dir

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

    name, folder = "MNIST", "MNIST/raw"
    in_shape, num_classes = (1, 28, 28), 10


class FashionMNIST(_TorchVision):
    """Clothes, grey 28x28: 60,000 to train on, 10,000 to test on."""

    name, folder = "FashionMNIST", "FashionMNIST/raw"
    in_shape, num_classes = (1, 28, 28), 10


class KMNIST(_TorchVision):
    """Cursive Japanese characters, grey 28x28: 60,000 to train on, 10,000 to test on."""

    name, folder = "KMNIST", "KMNIST/raw"
    in_shape, num_classes = (1, 28, 28), 10


class EMNIST(_TorchVision):
    """Handwritten letters and digits, grey 28x28.

    Args:
        split: balanced (47 classes, 112,800 + 18,800 images), byclass (62 classes), bymerge (47),
            letters (26), digits or mnist (10).
    """

    name, folder = "EMNIST", "EMNIST/raw"
    in_shape = (1, 28, 28)

    def __init__(
        self,
        split: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"] = "balanced",
    ) -> None:
        self.split = split
        self.num_classes = {"balanced": 47, "byclass": 62, "bymerge": 47, "letters": 26}.get(
            split, 10
        )

    def _open(self, data_dir: Path, **options: Any) -> Any:
        data = super()._open(data_dir, split=self.split, **options)
        data.data = data.data.mT  # the files hold the images transposed
        if self.split == "letters":  # and count letters from 1
            data.targets, data.classes = data.targets - 1, data.classes[1:]
        return data


class CIFAR10(_TorchVision):
    """Photographs, RGB 32x32: 50,000 to train on, 10,000 to test on."""

    name, folder = "CIFAR10", "cifar-10-batches-py"
    in_shape, num_classes = (3, 32, 32), 10


class CIFAR100(_TorchVision):
    """Photographs, RGB 32x32, 100 classes: 50,000 to train on, 10,000 to test on."""

    name, folder = "CIFAR100", "cifar-100-python"
    in_shape, num_classes = (3, 32, 32), 100
