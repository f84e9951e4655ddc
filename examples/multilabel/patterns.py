"""Which digits are in the picture, none to all: several labels for each picture."""

from pathlib import Path

import torch
from torch import Tensor

from lit_opt.engine.base.targets import MultiLabel
from lit_opt.sources import Digits, Source


class DigitsTogether(Source):
    """Four of scikit-learn's digits in a picture of 16x16 pixels, a place of which may stay empty.

    Args:
        train, test: Numbers of pictures; test pictures hold digits that no training picture has.
    """

    targets = MultiLabel()
    in_shape = (1, 16, 16)
    num_classes = 10
    classes = Digits.classes

    def __init__(self, train: int = 1500, test: int = 1000) -> None:
        self.counts = {"train": train, "test": test}

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        loaded = Digits().load(data_dir, split)
        if loaded is None:
            return None
        digits, labels = loaded  # uint8 (M, 1, 8, 8), int64 (M,)
        draw = torch.Generator().manual_seed(1 if split == "train" else 2)
        chosen = torch.randint(len(labels), (self.counts[split], 4), generator=draw)  # (N, 4)
        there = torch.rand(chosen.shape, generator=draw) < 0.7
        pieces = digits[chosen, 0] * there[:, :, None, None]  # (N, 4, 8, 8)
        x = pieces.view(-1, 2, 2, 8, 8).transpose(2, 3).reshape(-1, 1, 16, 16)
        y = torch.zeros(len(x), 10).scatter_reduce_(1, labels[chosen], there.float(), "amax")
        return x, y  # uint8 (N, 1, 16, 16), float (N, 10) of 0 and 1
