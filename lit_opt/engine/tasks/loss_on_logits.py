"""The losses of torch.nn on logits, with labels as indices, one-hot or soft.

Losses disagree on what they take: indices or probabilities, logits or log-probabilities.
`OnLogits` hides that. Legend: B samples, C classes, K regression targets.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import Classes, NextToken, Regression


class OnLogits(nn.Module):
    """`OnLogits(loss)(outputs, y)` is the scalar loss, whichever torch.nn loss it is.

    `outputs`: float (B, C), logits. `y`: int64 (B,) in [0, C), or float (B, C), one-hot or soft.
    Regression: `outputs` and `y` float (B, K). Classes of places and tokens: see
    `lit_opt/engine/base/targets.py`. A loss that is not torch.nn's is called as is.

    Raises `UserError`: on construction, for a loss of torch.nn that is for something else than
    classes or targets, or returns no scalar; in `forward`, for labels that the loss can't take.
    """

    weight_of: Callable[[Tensor], Any]
    """`weight_of(y)`: what the sum over a batch was divided by, its samples or their weights."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.loss = _stable(loss)
        self.takes = _takes(self.loss)
        self.follow(Classes())

    def follow(self, targets: Classes, names: Any = None) -> None:
        """Takes y as they are declared; once a fit, so that a step asks nothing of it."""
        loss: Any = self.loss
        known = any(cls in LOSSES for cls in type(loss).__mro__)
        self.tokens = known and isinstance(targets, NextToken)
        self.unseen = self.takes.probabilities and isinstance(targets, Regression)
        self.weight_of = len
        if isinstance(loss, nn.CrossEntropyLoss) and not self.is_sum:
            ignored = targets.ignore_index
            if ignored is not None and loss.ignore_index < 0:
                loss.ignore_index = ignored
            if loss.weight is not None or loss.ignore_index >= 0 or ignored is not None:
                self.weight_of = self._weights

    @property
    def is_sum(self) -> bool:
        """Whether the loss is the sum over a batch instead of the mean."""
        return getattr(self.loss, "reduction", "mean") == "sum"

    def _weights(self, y: Tensor) -> Tensor | int:
        """Cross entropy with `weight` or `ignore_index` divides by these, where y are indices."""
        if y.is_floating_point():
            return len(y)
        loss: Any = self.loss
        counted = y != loss.ignore_index  # (B, …)
        return (
            counted if loss.weight is None else loss.weight[y.where(counted, 0)] * counted
        ).sum()

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        if self.tokens:
            outputs, y = outputs.flatten(0, -2), y.flatten()  # (B·T, C) and (B·T,)
        if self.unseen:
            self._check_range(y)
        y = self.takes.labels(self.loss, outputs, y)
        return self.loss(self.takes.inputs(outputs), y)

    def _check_range(self, y: Tensor) -> None:
        """Of the first batch: beyond [0, 1] these losses have no minimum and become negative."""
        self.unseen = False
        low, high = (float(bound) for bound in y.aminmax())
        if low < 0 or high > 1:
            raise UserError(
                f"{type(self.loss).__name__} takes y from 0 to 1; there are {low:g} to {high:g};\n"
                "for other numbers set --loss MSELoss, or scale y to [0, 1]"
            )


def _as_it_is(loss: Any, outputs: Tensor, y: Tensor) -> Tensor:
    return y


def _probabilities(loss: Any, outputs: Tensor, y: Tensor) -> Tensor:
    """Float (B, C): indices become one-hot, floats (regression targets, too) stay as they are."""
    if not y.is_floating_point():
        y = F.one_hot(y.long(), outputs.shape[1]).movedim(-1, 1).to(outputs.dtype)
    if y.shape != outputs.shape:
        name, shape = type(loss).__name__, tuple(outputs.shape)
        raise UserError(f"{name} needs labels of the outputs' shape {shape}, got {tuple(y.shape)}")
    return y


def _indices(loss: Any, outputs: Tensor, y: Tensor) -> Tensor:
    """Int64 (B,) in [0, C). On a GPU the check of float labels waits for the device."""
    if not y.is_floating_point():
        return y
    if not ((y == 0) | (y == 1)).all():
        raise UserError(
            f"{type(loss).__name__} takes hard labels, got soft ones such as {y[0].tolist()};\n"
            "for soft labels set --loss to CrossEntropyLoss or KLDivLoss"
        )
    return _probabilities(loss, outputs, y).argmax(1)


def _distribution(loss: Any, outputs: Tensor, y: Tensor) -> Tensor:
    """Float (B, C): probabilities, or their logarithms if `loss.log_target`."""
    y = _probabilities(loss, outputs, y)
    return y.clamp_min(torch.finfo(y.dtype).tiny).log() if loss.log_target else y


class Takes(NamedTuple):
    """What a loss takes: labels made of (loss, outputs, y), and inputs made of the logits."""

    labels: Callable[[Any, Tensor, Tensor], Tensor] = _as_it_is
    inputs: Callable[[Tensor], Tensor] = nn.Identity()
    probabilities: bool = False  # y must lie in [0, 1]


LOSSES: dict[type, Takes] = {
    nn.CrossEntropyLoss: Takes(),
    nn.NLLLoss: Takes(_indices, nn.LogSoftmax(1)),  # a subclass: the class itself is made stable
    nn.KLDivLoss: Takes(_distribution, nn.LogSoftmax(1)),
    nn.BCELoss: Takes(_probabilities, torch.sigmoid, True),  # likewise
    nn.BCEWithLogitsLoss: Takes(_probabilities, probabilities=True),
    nn.MultiLabelSoftMarginLoss: Takes(_probabilities, probabilities=True),
    nn.MultiMarginLoss: Takes(_indices),
    nn.MSELoss: Takes(_probabilities),
    nn.L1Loss: Takes(_probabilities),
    nn.SmoothL1Loss: Takes(_probabilities),
    nn.HuberLoss: Takes(_probabilities),
}


def _takes(loss: Callable[..., Any]) -> Takes:
    """The entry of the loss's class or of its nearest base class in torch.nn."""
    if getattr(loss, "reduction", None) == "none":
        raise UserError(
            f"{type(loss).__name__}(reduction='none') returns no scalar; "
            "set the loss's reduction to 'mean' or 'sum'"
        )
    for cls in type(loss).__mro__:
        if cls in LOSSES:
            return LOSSES[cls]
        if cls.__name__.endswith("Loss") and vars(nn).get(cls.__name__) is cls:
            names = ", ".join(known.__name__ for known in LOSSES)
            raise UserError(
                f"{cls.__name__} is for something else than classes or targets of a regression; "
                f"set --loss to one of\n{names}, or to the import path of your own"
            )
    return Takes()


def _stable(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The same loss from logits: takes soft labels, too, and is allowed under autocast."""
    if loss is F.cross_entropy:
        return nn.CrossEntropyLoss()
    if type(loss) is nn.NLLLoss:
        return nn.CrossEntropyLoss(
            loss.weight, ignore_index=loss.ignore_index, reduction=loss.reduction
        )
    if type(loss) is nn.BCELoss:
        return nn.BCEWithLogitsLoss(loss.weight, reduction=loss.reduction)
    return loss
