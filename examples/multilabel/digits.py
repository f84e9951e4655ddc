"""Several labels an image: which of the ten digits are on a canvas."""

from pathlib import Path

import torch
from torch import Tensor

from lit_opt.engine.targets import MultiLabel
from lit_opt.sources import Digits, Source


class DigitsOnCanvas(Source):
    """One to four of scikit-learn's digits in the quarters of 16x16: 4,000 and 1,000 to test.

    Digits on the test canvases are of the test digits.
    """

    in_shape = (1, 16, 16)
    classes = tuple("0123456789")
    num_classes = 10
    targets = MultiLabel()

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        """x: uint8 (N, 1, 16, 16); y: float (N, 10), 1 where the digit is there."""
        loaded = Digits().load(data_dir, split)
        if loaded is None:
            return None
        digits, labels = loaded  # uint8 (M, 1, 8, 8), int64 (M,)
        N = 1000 if split == "test" else 4000
        generator = torch.Generator().manual_seed(N)
        chosen = torch.randint(len(digits), (N, 4), generator=generator)
        there = torch.rand(N, 4, generator=generator) < 0.5
        there[:, 0] |= ~there.any(1)
        x = torch.zeros(N, 1, 16, 16, dtype=torch.uint8)
        y = torch.zeros(N, 10)
        for k in range(4):
            top, left = 8 * (k // 2), 8 * (k % 2)
            rows = there[:, k]
            x[rows, :, top : top + 8, left : left + 8] = digits[chosen[rows, k]]
            y[rows, labels[chosen[rows, k]]] = 1
        return x, y
