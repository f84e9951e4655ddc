"""The validation split, cut from the official training set."""

from __future__ import annotations

import torch
from torch import Tensor


def split_indices(y: Tensor, val_fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Returns sorted int64 indices (train, val); depends on nothing but the arguments.

    Labels, int64 (N,): stratified; a class's share of val is within one sample of val_fraction of
    it, and no class goes to val whole. Targets, float (N, K): at random.
    """
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    counts = [len(y)]
    if not y.is_floating_point():
        order = order[y[order].argsort(stable=True)]  # class by class, shuffled within
        counts = y.bincount().tolist()
    in_val = torch.zeros(len(y), dtype=torch.bool)
    seen = 0
    for group in torch.split(order, counts):
        # Rounded on the running total, so that many small classes add up to val_fraction as well.
        share = round(val_fraction * (seen + len(group))) - round(val_fraction * seen)
        in_val[group[: min(share, len(group) - 1)]] = True
        seen += len(group)
    return (~in_val).nonzero().flatten(), in_val.nonzero().flatten()
