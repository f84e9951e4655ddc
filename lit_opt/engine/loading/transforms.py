"""Transforms of torchvision v2 on a batch, one call a sample: each draws its own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def transform_samples(
    x: Tensor, y: Tensor, transforms: Sequence[nn.Module], masks: bool
) -> tuple[Tensor, Tensor]:
    """x (B, C, H, W) through all `transforms`; y (B, H, W) with it if y are `masks`.

    They draw from torch's global random numbers, which the loader seeds for every step. The images
    that come out must have one size.
    """
    from torchvision import tv_tensors

    images, targets = [], []
    for image, target in zip(x, y, strict=True):
        sample: Any = (tv_tensors.Image(image), tv_tensors.Mask(target) if masks else None)
        for transform in transforms:
            sample = transform(*sample)
        images.append(sample[0].as_subclass(Tensor))
        targets.append(sample[1].as_subclass(Tensor) if masks else target)
    return torch.stack(images), torch.stack(targets)
