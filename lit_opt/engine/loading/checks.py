"""Bad data and bad numbers, told before training starts. `where` names data set and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import Classes, inferred
from lit_opt.engine.loading.facts import renumbered

INT32 = 2**31 - 1
# The least and the largest value of a hyperparameter, both allowed.
RANGES = {
    "batch_size": (1, INT32),  # torch would tell of an overflow, and not of what
    "eval_batch_size": (1, INT32),
    "val_fraction": (0, 0.999),
    "crop_padding": (0, INT32),
    "erasing": (0, 1),
    "mixup": (0, None),
    "cutmix": (0, None),
    "num_workers": (0, INT32),
    "steps_per_execution": (1, INT32),
}
TRANSFORMS = ("transforms", "eval_transforms")


def check_hyperparameters(values: Mapping[str, Any]) -> None:
    """Each number lies in its range of `RANGES`; nan lies in none."""
    for key, (low, high) in RANGES.items():
        if not (values[key] >= low and (high is None or values[key] <= high)):
            least = high is None or (values[key] < low and high == INT32)
            expected = f"at least {low}" if least else f"{low} to {high}"
            raise UserError(f"--{key} is {values[key]}; expected {expected}")


def check_split(
    where: str,
    loaded: tuple[Tensor, Tensor] | None,
    declared: Classes | None,
    nan_is_missing: bool = False,
) -> tuple[Tensor, Tensor]:
    """What `Source.load` returned, y as it is declared: types, shapes, number, finiteness.

    With `nan_is_missing` x may hold NaN.
    """
    if loaded is None:
        raise UserError(f"{where}: load() returned None; expected (x, y): see Source.load")
    x, y = loaded
    if x.ndim < 2 or x.is_complex() or (x.dtype == torch.uint8 and x.ndim == 3):
        raise UserError(
            f"{where}: x is {x.dtype} {tuple(x.shape)};\nexpected images uint8 (N, C, H, W), "
            "features or signals float (N, …),\nor tokens, integers (N, …): see Source.load"
        )
    if len(x) != len(y):
        raise UserError(f"{where}: {len(x)} samples but {len(y)} labels; expected one label each")
    if len(x) == 0:
        raise UserError(f"{where}: no samples; expected at least one: see --dataset, --data_dir")
    _check_finite(where, "x", x.nan_to_num(0, torch.inf) if nan_is_missing else x)
    _check_finite(where, "y", y)
    targets = declared or inferred(y)
    if targets is None:
        raise UserError(
            f"{where}: y is {y.dtype} {tuple(y.shape)}, and nothing says what that is;\n"
            "set `targets` of the source to MultiLabel(), Regression(), SoftLabels(),\n"
            "DenseClasses() or NextToken() of lit_opt.engine.base.targets"
        )
    return x, as_declared(where, y, targets)


def as_declared(where: str, y: Tensor, targets: Classes) -> Tensor:
    """y as it is held; raises `UserError` if it has another shape or dtype than `targets`."""
    if not targets.fits(y):
        raise UserError(
            f"{where}: y is {y.dtype} {tuple(y.shape)};\n"
            f"expected {targets.y}, as its {type(targets).__name__} are declared"
        )
    return targets.loaded(y)


def _check_finite(where: str, name: str, values: Tensor) -> None:
    if values.is_floating_point() and not values.isfinite().all():
        place = tuple((~values.isfinite()).nonzero()[0].tolist())
        column = f", column {', '.join(map(str, place[1:]))}" if place[1:] else ""
        raise UserError(
            f"{where}: {name} is {values[place]} at sample {place[0]}{column}; "
            "expected finite numbers"
        )


def check_source_fits(
    where: str, targets: Classes, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    """Samples have the shape that is `expected`, or one that goes with it."""
    if not targets.fits_net(shape, expected):
        raise UserError(
            f"{where}: samples have shape {shape}; expected {expected}\n"
            "in every split (image folders: set --dataset.image_size)"
        )


def check_y(
    where: str,
    targets: Classes,
    num_classes: int,
    names: Sequence[str] | None,
    known: Sequence[str] | None,
    whose: str,
    y: Tensor,
) -> Tensor:
    """y as it is held, numbered by the classes `known` instead of `names`: see `renumbered`.

    Raises `UserError` if they are not what `targets` says, with `num_classes` outputs.
    """
    y = renumbered(where, as_declared(where, y, targets), names, known, whose)
    if wrong := targets.wrong(y, num_classes):
        raise UserError(f"{where}: {wrong}")
    return y


def check_augmentation(where: str, x: Tensor, y: Tensor, values: Mapping[str, Any]) -> None:
    """No hyperparameter asks for an augmentation of images where x, or y beside it, is not for it.

    Flipped, cropped or mixed images need another y where y has places, such as masks.
    """
    keys = ("flip", "crop_padding", "mixup", "cutmix", "erasing", *TRANSFORMS)
    asked = [key for key in keys if values.get(key)]
    if asked and x.ndim != 4:
        raise UserError(
            f"{where} has no images, its samples have shape {tuple(x.shape[1:])};\n"
            "flip, crop_padding, erasing, transforms, mixup and cutmix need images: unset them"
        )
    if y.ndim > 2 and set(asked) - {"erasing", *TRANSFORMS}:
        raise UserError(
            f"{where}: y has the shape {tuple(y.shape[1:])} a sample, which {asked[0]} would not\n"
            "change with the image; unset flip, crop_padding, mixup and cutmix: transforms do"
        )


def check_cut(val_fraction: float, samples: int, kept: int) -> None:
    """A validation split that is asked for has a sample."""
    if val_fraction > 0 and kept == 0:
        raise UserError(
            f"--val_fraction {val_fraction} of {samples} samples is less than one;\n"
            "raise it, or set it to 0 for no validation"
        )
