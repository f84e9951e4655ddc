"""Normalisation of a batch, with the statistics of the training split."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 2**25  # bytes read at once


def mean_std(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """float64 mean and std (C,) over x[rows], per channel; images, uint8, count as x / 255.

    The std is the population's; 1 where a channel is constant.
    """
    if x.dtype == torch.uint8:
        mean, var = _image_moments(x, rows)
    else:
        var, mean = torch.var_mean(x[rows].double(), dim=0, correction=0)
    return mean, torch.where(var > 0, var, 1).sqrt()


def _image_moments(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) from the 256-bin histogram of every channel: exact, no float copy."""
    histogram = torch.zeros(x.shape[1], 256, dtype=torch.float64)
    for chunk in torch.split(rows, max(1, _CHUNK // x[0].numel())):
        images = x.index_select(0, chunk)
        for c in range(x.shape[1]):
            histogram[c] += torch.bincount(images[:, c].flatten(), minlength=256)
    share = histogram / histogram.sum(1, keepdim=True)
    value = torch.arange(256) / 255.0
    mean = (share * value).sum(1)
    return mean, (share * (value - mean[:, None]) ** 2).sum(1)


class Normalize:
    """(x - mean) / std per channel of a batch: images uint8 (B, C, H, W), or float (B, F).

    x and the result live on x's device; float32 out. With `on` False: images in [0, 1], tables raw.
    """

    def __init__(self, x: Tensor, rows: Tensor, on: bool) -> None:
        unit = 255 if x.dtype == torch.uint8 else 1
        channels = x.shape[1]
        mean, std = torch.zeros(channels), torch.ones(channels)
        if on:
            mean, std = mean_std(x, rows)
        shape = [1, channels] + [1] * (x.ndim - 2)
        self.scale = (1 / (unit * std)).float().view(shape)
        self.shift = (-mean / std).float().view(shape)

    def __call__(self, x: Tensor) -> Tensor:
        if self.scale.device != x.device:
            self.scale, self.shift = self.scale.to(x.device), self.shift.to(x.device)
        # On a CPU twice as fast as addcmul.
        return x.to(torch.float32, copy=True).mul_(self.scale).add_(self.shift)
