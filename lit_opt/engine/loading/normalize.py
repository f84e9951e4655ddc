"""Normalisation of a batch, with the statistics of the training split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lit_opt.engine.base.errors import UserError

_CHUNK = 2**25  # bytes read at once
SAMPLED = 256  # samples that stand for all where these aren't in memory
GIVEN = {"imagenet": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}


def given_moments(normalize: Any) -> tuple[Tensor, Tensor] | None:
    """mean and std, float64 (C,), that the option `--normalize` states; None if it states none."""
    stated = GIVEN.get(normalize, normalize) if isinstance(normalize, str) else normalize
    if isinstance(stated, bool):
        return None
    if not isinstance(stated, Mapping) or stated.keys() != {"mean", "std"}:
        raise UserError(
            f"--normalize is {normalize!r}; expected true, false, imagenet,\n"
            "or in YAML {mean: [...], std: [...]}, a number for each channel"
        )
    mean, std = (torch.tensor(stated[key], dtype=torch.float64) for key in ("mean", "std"))
    if mean.ndim != 1 or mean.shape != std.shape or not (std > 0).all():
        raise UserError("--normalize: mean and std have one number a channel each, std above 0")
    return mean, std


def mean_std(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """float64 mean and std (C,) over x[rows], per channel, axis 1; images, uint8, count as x / 255.

    The std is the population's; 1 where a channel is constant.
    """
    mean, var = (_image_moments if x.dtype == torch.uint8 else _moments)(x, rows)
    return mean, torch.where(var > 0, var, 1).sqrt()


def _without(raw: Sequence[int], mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Mean 0 and std 1 for the channels `raw`, but an infinite std for a constant one.

    Of 0 and 1 the std is at most 0.5; 1 tells that it is constant.
    """
    chosen = torch.zeros_like(mean, dtype=torch.bool)
    chosen[list(raw)] = True
    return mean.where(~chosen, 0), std.where(~chosen, torch.where(std == 1, torch.inf, 1.0))


def _chunks(x: Tensor, rows: Tensor) -> Iterator[Tensor]:
    for chunk in torch.split(rows, max(1, _CHUNK // (x[0].numel() * x.itemsize))):
        yield x.index_select(0, chunk)


def _moments(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) of floats (N, C, …), in two passes: exact, no double copy.

    NaN is left out; a channel of nothing else has mean and variance 0.
    """
    others = [0, *range(2, x.ndim)]
    count = mean = var = torch.zeros(x.shape[1], dtype=torch.float64)
    for part in _chunks(x, rows):
        count = count + (~part.isnan()).sum(others)
    count = count.clamp(min=1)
    for part in _chunks(x, rows):
        mean = mean + part.double().nan_to_num(0).sum(others) / count
    for part in _chunks(x, rows):
        off = part.double() - mean.view(-1, *[1] * (x.ndim - 2))
        var = var + (off**2).nan_to_num(0).sum(others) / count
    return mean, var


def _image_moments(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) from the 256-bin histogram of every channel: exact, no float copy."""
    histogram = torch.zeros(x.shape[1], 256, dtype=torch.float64)
    for images in _chunks(x, rows):
        for c in range(x.shape[1]):
            histogram[c] += torch.bincount(images[:, c].flatten(), minlength=256)
    share = histogram / histogram.sum(1, keepdim=True)
    value = torch.arange(256) / 255.0
    mean = (share * value).sum(1)
    return mean, (share * (value - mean[:, None]) ** 2).sum(1)


def dtype_in_batch(x: Tensor) -> torch.dtype:
    """What `Normalize` makes of x; the net's precision comes after it."""
    integers = not x.is_floating_point() and x.dtype != torch.bool
    tokens = integers and (x.dtype != torch.uint8 or x.ndim == 2)
    return torch.int64 if tokens else torch.float32


class Normalize:
    """(x - mean) / std per channel, axis 1; of images uint8 (B, C, H, W) or floats (B, C, …).

    x and the result live on x's device; float32 out. With `on` False: images in [0, 1], floats raw.
    `moments` are the mean and std (C,) to take; without them they are those of x[rows].
    `raw` channels stay as they are; one that is constant in x[rows] becomes 0, whatever it holds,
    as no net can have learned from it. With `nan_is_missing` NaN becomes the mean.
    Other integers, such as tokens, become int64; bool becomes 0 and 1. Neither is normalised.
    """

    def __init__(
        self,
        x: Tensor,
        rows: Tensor,
        on: bool,
        moments: tuple[Tensor, Tensor] | None = None,
        raw: Sequence[int] = (),
        nan_is_missing: bool = False,
    ) -> None:
        image = x.dtype == torch.uint8 and x.ndim > 2
        self.image, self.floats = image, x.is_floating_point()
        self.dtype = dtype_in_batch(x)
        unit, channels = 255 if image else 1, x.shape[1]
        mean, std = torch.zeros(channels), torch.ones(channels)
        if on and (image or x.is_floating_point()):
            mean, std = moments or _without(raw, *mean_std(x, rows))
        if len(mean) != channels:
            raise UserError(
                f"--normalize is for {len(mean)} channels, and the data has {channels};\n"
                f"set it to true, or to the mean and std of {channels}"
            )
        self.moments, self.nan_is_missing = (mean, std), nan_is_missing
        shape = [1, channels] + [1] * (x.ndim - 2)
        self.scale = (1 / (unit * std)).float().view(shape)
        self.shift = (-mean / std).float().view(shape)

    def __call__(self, x: Tensor) -> Tensor:
        if self.dtype == torch.int64:
            return x.long()
        if self.image and x.is_floating_point():  # a transform has scaled it to [0, 1]
            x = x * 255
        elif self.floats and x.dtype == torch.uint8:  # transforms of x have done so
            x = x / 255
        if self.scale.device != x.device:
            self.scale, self.shift = self.scale.to(x.device), self.shift.to(x.device)
        # On a CPU twice as fast as addcmul.
        x = x.to(torch.float32, copy=True).mul_(self.scale).add_(self.shift)
        return x.nan_to_num_(0) if self.nan_is_missing else x
