"""Transforms of torchvision v2, one call a sample: each draws its own numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading.batches import XY, Batches
from lit_opt.engine.loading.seeding import all_seeders, seed_for


class Transformed(Dataset[XY]):
    """The samples of `data` through `transforms`, in this process or in a worker.

    All random numbers of a batch, of Python and numpy, too, depend on seed, epoch and the batch's
    samples alone, so that a resumed run has the same ones.
    """

    def __init__(self, data: Batches, transforms: Sequence[nn.Module], seed: int) -> None:
        self.data, self.transforms, self.seed = data, transforms, seed
        self.rows = data.rows
        self.epoch = torch.zeros(1, dtype=torch.int64)
        self.epoch.share_memory_()  # type: ignore[no-untyped-call]  # workers read it

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: list[int] | Tensor) -> XY:
        rows = self.rows[torch.as_tensor(indices, device=self.rows.device)]
        seed_for(all_seeders(), (self.seed, int(self.epoch), rows.tolist()))
        try:
            x, y = transform_samples(self.data.samples(rows), self.transforms)
            return x, self.data.checked_y(y)
        except UserError as error:
            raise UserError(f"{error}\nin the batch of the samples {rows.tolist()}") from error


def transform_samples(samples: Iterable[Any], transforms: Sequence[nn.Module]) -> XY:
    """Samples (x, y) through all `transforms`, as one batch; a mask y (H, W) goes with its image.

    x: a picture of PIL, an array or a tensor, images (C, H, W). y: a number, an array or a tensor.
    They draw from torch's global random numbers. Raises `UserError` if what comes out has more than
    one size.
    """
    xs, ys = [], []
    for x, y in samples:
        x, y = _tensor(x), _tensor(y)
        if transforms:
            x, y = _transformed(x, y, transforms)
        xs.append(x.as_subclass(Tensor))
        ys.append(y.as_subclass(Tensor))
    shapes = sorted({tuple(x.shape) for x in xs})
    if len(shapes) > 1:
        raise UserError(
            f"samples of a batch have the shapes {shapes[0]} and {shapes[-1]}; expected one;\n"
            "set --transforms, such as [RandomResizedCrop], and --eval_transforms, such as "
            "[Resize, CenterCrop]"
        )
    return torch.stack(xs), torch.stack(ys)


def normalizes(transforms: Iterable[Any]) -> bool:
    """Whether a Normalize is among them, or within one of them."""
    return any(
        type(transform).__name__ == "Normalize" or normalizes(getattr(transform, "transforms", []))
        for transform in transforms
    )


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if hasattr(value, "getbands"):  # a picture of PIL
        from torchvision.transforms.v2.functional import pil_to_tensor

        image: Tensor = pil_to_tensor(value)
        return image
    return torch.as_tensor(np.asarray(value))


def _transformed(x: Tensor, y: Tensor, transforms: Sequence[nn.Module]) -> tuple[Tensor, Tensor]:
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    mask = y.ndim == 2 and not y.is_floating_point()
    sample: Any = (tv_tensors.Image(x), tv_tensors.Mask(y) if mask else y)
    for transform in transforms:
        if isinstance(transform, v2.Normalize) and not sample[0].is_floating_point():
            sample = v2.functional.to_dtype(sample[0], torch.float32, scale=True), sample[1]
        sample = transform(*sample)
    return sample
