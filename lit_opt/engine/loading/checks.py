"""Bad data and bad numbers, told before training starts. `where` names data set and split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lit_opt.engine.errors import UserError

# The least and the largest value of a hyperparameter, both allowed.
RANGES = {
    "batch_size": (1, None),
    "eval_batch_size": (1, None),
    "val_fraction": (0, 0.999),
    "crop_padding": (0, None),
    "erasing": (0, 1),
    "mixup": (0, None),
    "cutmix": (0, None),
    "num_workers": (0, None),
    "steps_per_execution": (1, None),
}


def check_hyperparameters(values: Mapping[str, Any]) -> None:
    """Each number lies in its range of `RANGES`; nan lies in none."""
    for key, (low, high) in RANGES.items():
        if not (values[key] >= low and (high is None or values[key] <= high)):
            expected = f"at least {low}" if high is None else f"{low} to {high}"
            raise UserError(f"--{key} is {values[key]}; expected {expected}")


def check_split(where: str, loaded: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Type, shape, number and finiteness of what `Source.load` returned."""
    if loaded is None:
        raise UserError(f"{where}: load() returned None; expected (x, y): see Source.load")
    x, y = loaded
    if (x.dtype, x.ndim) not in ((torch.uint8, 4), (torch.float32, 2)):
        raise UserError(
            f"{where}: x is {x.dtype} {tuple(x.shape)};\n"
            "expected images uint8 (N, C, H, W) or features float32 (N, F): see Source.load"
        )
    if (y.dtype, y.ndim) not in ((torch.int64, 1), (torch.float32, 2)):
        raise UserError(
            f"{where}: y is {y.dtype} {tuple(y.shape)};\n"
            "expected labels int64 (N,) or targets float32 (N, K): see Source.load"
        )
    if len(x) != len(y):
        raise UserError(f"{where}: {len(x)} samples but {len(y)} labels; expected one label each")
    if len(x) == 0:
        raise UserError(f"{where}: no samples; expected at least one: see --dataset, --data_dir")
    _check_finite(where, "x", x)
    _check_finite(where, "y", y)
    return loaded


def _check_finite(where: str, name: str, values: Tensor) -> None:
    if values.is_floating_point() and not values.isfinite().all():
        row, column = (~values.isfinite()).nonzero()[0].tolist()
        raise UserError(
            f"{where}: {name} is {values[row, column]} at sample {row}, column {column}; "
            "expected finite numbers"
        )


def check_source_fits(
    where: str, x: Tensor, y: Tensor, in_shape: tuple[int, ...], num_classes: int
) -> None:
    """Samples have shape `in_shape`; labels lie in [0, num_classes), targets are as many."""
    if x.shape[1:] != in_shape:
        raise UserError(
            f"{where}: samples have shape {tuple(x.shape[1:])}; expected {in_shape}\n"
            "in every split (image folders: set --dataset.image_size)"
        )
    if y.is_floating_point():
        if y.shape[1] != num_classes:
            raise UserError(f"{where}: {y.shape[1]} targets a sample; expected {num_classes}")
        return
    wrong = ((y < 0) | (y >= num_classes)).nonzero().flatten()
    if len(wrong):
        raise UserError(
            f"{where}: label {y[wrong[0]]} at sample {wrong[0]} ({len(wrong)} such labels);\n"
            f"expected 0 to {num_classes - 1}: correct the labels, or the data set's classes"
        )


def check_images(where: str, x: Tensor, values: Mapping[str, Any]) -> None:
    """No hyperparameter asks for an augmentation where x, float (N, F), is a table."""
    asked = any(values[key] for key in ("flip", "crop_padding", "erasing", "mixup", "cutmix"))
    if x.ndim == 2 and asked:
        raise UserError(
            f"{where} is a table, its samples have shape {tuple(x.shape[1:])};\n"
            "flip, crop_padding, erasing, mixup and cutmix need images: unset them"
        )


def check_cut(val_fraction: float, samples: int, kept: int) -> None:
    """A validation split that is asked for has a sample."""
    if val_fraction > 0 and kept == 0:
        raise UserError(
            f"--val_fraction {val_fraction} of {samples} samples is less than one;\n"
            "raise it, or set it to 0 for no validation"
        )
