"""The validation split, cut from the official training set."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_opt.engine.base.errors import UserError


def every_fifth(y: Tensor) -> Tensor:
    """bool (N,): a fixed 80/20 split, True for every fifth sample within each class.

    y: int64 (N,); float for a regression, which counts as one class. There are no random numbers,
    so no version of anything can move a test sample into the training set.
    """
    by_class = torch.arange(len(y)) if y.is_floating_point() else y.argsort(stable=True)
    test = torch.zeros(len(y), dtype=torch.bool)
    test[by_class[4::5]] = True
    return test


def fixed_split(x: Tensor, y: Tensor, split: str) -> tuple[Tensor, Tensor] | None:
    """x and y of "train" or "test" by `every_fifth`; None for "val", which is cut from "train"."""
    if split == "val":
        return None
    keep = every_fifth(y) if split == "test" else ~every_fifth(y)
    return x[keep], y[keep]


def split_indices(strata: Tensor, val_fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Returns sorted int64 indices (train, val); depends on nothing but the arguments.

    strata: int64 (N,) >= 0, such as the classes. The share of each in val is within one sample of
    val_fraction of it, and none goes to val whole. All 0: a cut at random.
    """
    if not 0 <= seed < 2**63:
        raise UserError(f"--split_seed {seed}: expected a number from 0 to {2**63 - 1}")
    order = torch.randperm(len(strata), generator=torch.Generator().manual_seed(seed))
    order = order[strata[order].argsort(stable=True)]  # one by one, shuffled within
    in_val = torch.zeros(len(strata), dtype=torch.bool)
    seen = 0
    for group in torch.split(order, strata.bincount().tolist()):
        # Rounded on the running total, so that many small classes add up to val_fraction as well.
        share = round(val_fraction * (seen + len(group))) - round(val_fraction * seen)
        in_val[group[: min(share, len(group) - 1)]] = True
        seen += len(group)
    return (~in_val).nonzero().flatten(), in_val.nonzero().flatten()
