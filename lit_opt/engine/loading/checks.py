"""Bad data and bad numbers, told before training starts. `where` names data set and split."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_opt.engine.errors import UserError


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


def check_fit(
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


def check_number(key: str, value: float, low: float, high: float = float("inf")) -> None:
    """`value` must lie in [low, high]."""
    if not low <= value <= high:
        expected = f"at least {low}" if high == float("inf") else f"{low} to {high}"
        raise UserError(f"--{key} is {value}; expected {expected}")
