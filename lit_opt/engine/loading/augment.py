"""Random changes to a whole batch, where it lives, with that device's global random numbers.

x: (B, C, H, W). Each image draws its own numbers, except in `mix`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def random_flip(x: Tensor) -> Tensor:
    """Mirrors each image left to right with probability 1/2; any dtype."""
    flipped = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(flipped, x.flip(-1), x)


def random_crop(x: Tensor, padding: int) -> Tensor:
    """Pads `padding` zero pixels on every side, then cuts H x W anywhere; any dtype."""
    _, _, H, W = x.shape
    windows = F.pad(x, [padding] * 4).unfold(2, H, 1).unfold(3, W, 1)  # (B, C, 2p+1, 2p+1, H, W)
    top, left = torch.randint(2 * padding + 1, (2, len(x)), device=x.device)
    return windows[torch.arange(len(x), device=x.device), :, top, left]


def random_erase(
    x: Tensor, p: float, area: tuple[float, float] = (0.02, 0.33), max_ratio: float = 3.3
) -> Tensor:
    """Sets a rectangle to 0, which is the mean once x is normalised, with probability p.

    area: fraction of the image, uniform. height / width: log-uniform in [1/max_ratio, max_ratio];
    what doesn't fit is clipped. Zhong et al. 2017, "Random Erasing Data Augmentation".
    """
    B, _, H, W = x.shape
    u = torch.rand(5, B, 1, device=x.device)
    pixels = (area[0] + (area[1] - area[0]) * u[0]) * H * W
    ratio = max_ratio ** (2 * u[1] - 1)
    rows = _interval((pixels * ratio).sqrt(), u[2], H)  # (B, H)
    cols = _interval((pixels / ratio).sqrt(), u[3], W)  # (B, W)
    erased = (rows & (u[4] < p))[:, None, :, None] & cols[:, None, None, :]
    return x.masked_fill(erased, 0)


def _interval(length: Tensor, u: Tensor, size: int) -> Tensor:
    """bool (B, size): `length` (B, 1) neighbours, placed by `u` (B, 1) in [0, 1)."""
    length = length.round().clamp(1, size)
    start = (u * (size - length + 1)).floor()
    position = torch.arange(size, device=u.device)
    return (position >= start) & (position < start + length)


def mix(
    x: Tensor, y: Tensor, num_classes: int, mixup_alpha: float, cutmix_alpha: float
) -> tuple[Tensor, Tensor]:
    """MixUp or CutMix, by the toss of a coin if both alphas are above 0; one draw for the batch.

    y: int64 (B,) becomes float (B, num_classes), rows that sum to 1. The share of the first image
    is drawn from Beta(alpha, alpha). Zhang et al. 2018, "mixup"; Yun et al. 2019, "CutMix".
    """
    mixed: tuple[Tensor, Tensor] = _mixer(num_classes, mixup_alpha, cutmix_alpha)(x, y)
    return mixed


@cache
def _mixer(num_classes: int, mixup_alpha: float, cutmix_alpha: float) -> Any:
    from torchvision.transforms import v2

    mixers = []
    if mixup_alpha > 0:
        mixers.append(v2.MixUp(alpha=mixup_alpha, num_classes=num_classes))
    if cutmix_alpha > 0:
        mixers.append(v2.CutMix(alpha=cutmix_alpha, num_classes=num_classes))
    return v2.RandomChoice(mixers)
