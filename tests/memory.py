"""A small source that the tests of this folder build on."""

from pathlib import Path

import torch
from torch import Tensor

from lit_opt.sources import Source


class Memory(Source):
    """Splits given as tensors."""

    def __init__(self, **splits: tuple[Tensor, Tensor]) -> None:
        self.splits = splits

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        return self.splits.get(split)


def images(n: int, num_classes: int = 3, shape: tuple[int, ...] = (2, 4, 5), seed: int = 0):
    """x uint8 (n, C, H, W), channel c darker than c + 1; y = 0, 1, 2, 0, 1, 2, ..."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 100, (n, *shape), generator=generator)
    x += 60 * torch.arange(shape[0])[:, None, None]
    return x.to(torch.uint8), torch.arange(n) % num_classes
