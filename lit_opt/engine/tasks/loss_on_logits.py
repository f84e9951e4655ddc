"""Every loss of torch.nn on logits, with labels as indices, one-hot or soft.

Losses disagree on what they take: indices or probabilities, ±1, logits or log-probabilities.
`OnLogits` hides that. Legend: B samples, C classes, K regression targets.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_opt.engine.errors import UserError


class OnLogits(nn.Module):
    """`OnLogits(loss)(outputs, y)` is the scalar loss, whichever torch.nn loss it is.

    `outputs`: float (B, C), logits. `y`: int64 (B,) in [0, C), or float (B, C), one-hot or soft.
    Regression: `outputs` and `y` float (B, K). A loss that is not torch.nn's is called as is.

    Raises `UserError`: on construction, for a loss that needs more than (outputs, y) or returns no
    scalar; in `forward`, for labels that the loss can't take.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        _refuse(loss)
        self.loss = _on_logits(loss)
        self.inputs = _entry(_INPUTS, self.loss)
        self.labels = _entry(_LABELS, self.loss)

    @property
    def is_sum(self) -> bool:
        """Whether the loss is the sum over a batch instead of the mean."""
        return getattr(self.loss, "reduction", "mean") == "sum"

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        if self.labels is not None:
            y = self.labels(self.loss, outputs, y)
        if self.inputs is not None:
            outputs = self.inputs(outputs)
        return self.loss(outputs, y)


def _probabilities(loss: nn.Module, outputs: Tensor, y: Tensor) -> Tensor:
    """Float (B, C): indices become one-hot, floats (regression targets, too) stay as they are."""
    if not y.is_floating_point():
        y = F.one_hot(y.long(), outputs.shape[1]).to(outputs.dtype)
    if y.shape != outputs.shape:
        name, shape = type(loss).__name__, tuple(outputs.shape)
        raise UserError(f"{name} needs labels of the outputs' shape {shape}, got {tuple(y.shape)}")
    return y


def _hard(loss: nn.Module, outputs: Tensor, y: Tensor) -> Tensor:
    """Float (B, C) of zeros and ones. On a GPU the check of float labels waits for the device."""
    hard = _probabilities(loss, outputs, y)
    if y.is_floating_point() and not ((y == 0) | (y == 1)).all():
        raise UserError(
            f"{type(loss).__name__} takes hard labels, got soft ones such as {y[0].tolist()};\n"
            "for soft labels set --loss to CrossEntropyLoss or KLDivLoss"
        )
    return hard


def _indices(loss: nn.Module, outputs: Tensor, y: Tensor) -> Tensor:
    """Int64 (B,) in [0, C)."""
    return _hard(loss, outputs, y).argmax(1) if y.is_floating_point() else y


def _index_lists(loss: nn.Module, outputs: Tensor, y: Tensor) -> Tensor:
    """Int64 (B, C): a row's classes in front, then -1."""
    C = outputs.shape[1]
    classes = torch.arange(C, device=y.device)
    lists = torch.where(_hard(loss, outputs, y) == 1, classes, C).sort(dim=1).values
    return lists.masked_fill(lists == C, -1)


def _signs(loss: nn.Module, outputs: Tensor, y: Tensor) -> Tensor:
    """Float (B, C): 1 for the sample's class, -1 for the others."""
    return 2 * _hard(loss, outputs, y) - 1


def _distribution(loss: nn.KLDivLoss, outputs: Tensor, y: Tensor) -> Tensor:
    """Float (B, C): probabilities, or their logarithms if `loss.log_target`."""
    y = _probabilities(loss, outputs, y)
    return y.clamp_min(torch.finfo(y.dtype).tiny).log() if loss.log_target else y


def _log_probs(logits: Tensor) -> Tensor:
    return F.log_softmax(logits, dim=1)


def _distances(logits: Tensor) -> Tensor:
    """Float (B, C) >= 0, small where the logit is large."""
    return F.softplus(-logits)


# What a loss takes as labels; a class that isn't listed takes them in all forms, or is not ours.
_LABELS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Tensor]] = {
    nn.MSELoss: _probabilities,
    nn.L1Loss: _probabilities,
    nn.SmoothL1Loss: _probabilities,
    nn.HuberLoss: _probabilities,
    nn.BCELoss: _probabilities,
    nn.BCEWithLogitsLoss: _probabilities,
    nn.MultiLabelSoftMarginLoss: _probabilities,
    nn.PoissonNLLLoss: _probabilities,
    nn.KLDivLoss: _distribution,
    nn.NLLLoss: _indices,
    nn.MultiMarginLoss: _indices,
    nn.MultiLabelMarginLoss: _index_lists,
    nn.SoftMarginLoss: _signs,
    nn.HingeEmbeddingLoss: _signs,
}

# What a loss takes instead of logits.
_INPUTS: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.NLLLoss: _log_probs,
    nn.KLDivLoss: _log_probs,
    nn.BCELoss: torch.sigmoid,
    nn.HingeEmbeddingLoss: _distances,
}

_REFUSED = {
    "AdaptiveLogSoftmaxWithLoss": "contains the net's last layer and takes features, not logits",
    "LinearCrossEntropyLoss": "contains the net's last layer and takes features, not logits",
    "CosineEmbeddingLoss": "compares two embeddings",
    "CTCLoss": "aligns sequences and needs their lengths",
    "GaussianNLLLoss": "needs a variance beside the outputs",
    "MarginRankingLoss": "ranks two inputs",
    "TripletMarginLoss": "compares an anchor with a positive and a negative",
    "TripletMarginWithDistanceLoss": "compares an anchor with a positive and a negative",
}


def _refuse(loss: object) -> None:
    for name, reason in _REFUSED.items():
        if isinstance(loss, getattr(nn, name, ())):  # torch 2.11 has no LinearCrossEntropyLoss
            raise UserError(f"{name} {reason}; set --loss to one of (outputs, labels)")
    if getattr(loss, "reduction", None) == "none":
        raise UserError(
            f"{type(loss).__name__}(reduction='none') returns no scalar; "
            "set the loss's reduction to 'mean' or 'sum'"
        )


def _on_logits(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The same loss from logits: takes soft labels, too, and is allowed under autocast."""
    if type(loss) is nn.NLLLoss:
        return nn.CrossEntropyLoss(
            loss.weight, ignore_index=loss.ignore_index, reduction=loss.reduction
        )
    if type(loss) is nn.BCELoss:
        return nn.BCEWithLogitsLoss(loss.weight, reduction=loss.reduction)
    return loss


def _entry(table: dict[type[nn.Module], Any], loss: object) -> Any:
    """The entry of the loss's class or of its nearest listed base class, else None."""
    return next((table[base] for base in type(loss).__mro__ if base in table), None)
