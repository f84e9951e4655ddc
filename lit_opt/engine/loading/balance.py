"""Classes that differ in number: weights of the loss, or of the samples that are drawn."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

from torch import Tensor

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import Classes
from lit_opt.engine.loading.batches import Batches


def weighted_loss(loss: Mapping[str, Any], targets: Classes, y: Tensor, num: int) -> dict[str, Any]:
    """The option `loss` with weights by which all classes count alike.

    Args:
        loss: The option as it is given, with its class_path.
        targets: What y is; a loss that is not for them is replaced by theirs.
        y: The targets (N, …) of the samples to train on.
        num: Classes or labels.

    Raises:
        UserError: if there are no classes, or the loss takes no weights.
    """
    path = loss["class_path"]
    if path.rpartition(".")[2] in targets.refused:
        path = targets.loss
    arguments = targets.loss_weights(y, num)
    if not arguments:
        raise UserError(f"--class_weights: there are no classes, y is {targets.y}; unset it")
    (key,) = arguments
    if key not in inspect.signature(resolve_name(path)).parameters:
        raise UserError(
            f"--class_weights: {path} takes no {key}; unset it, or set --loss {targets.instead}"
        )
    return {"class_path": path, "init_args": arguments}


def balancing(data: Batches, targets: Classes) -> Tensor:
    """float64 (M,): weights of the samples by which each class is drawn as often as another.

    Raises `UserError` if a sample is not of one class.
    """
    groups = targets.strata(data.y_of_all("--balanced")[data.rows])
    counts = groups.bincount()
    if (counts > 0).sum() < 2:
        raise UserError(f"--balanced: no two classes, y is {targets.y}; unset it")
    return 1 / counts[groups].double()
