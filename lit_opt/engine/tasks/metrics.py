"""Metrics counted on the device, reduced over processes once an epoch, exact over samples."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection


class MeanLoss(Metric):
    """The loss averaged over samples, or over their weights: however they came in batches.

    Args:
        summed: Whether the loss is its batch's sum instead of its mean.
    """

    higher_is_better = False
    full_state_update = False
    loss_sum: Tensor
    total: Tensor

    def __init__(self, summed: bool = False) -> None:
        super().__init__()
        self.summed = summed
        self.add_state("loss_sum", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, target: Tensor, loss_weight: Any = None) -> None:
        """`loss: float ()`, of this batch; `target: (B, …)`; `loss_weight`: what its sum was
        divided by, a number or float (). Default: B."""
        weight = len(target) if loss_weight is None else loss_weight
        self.loss_sum.add_(loss.detach() if self.summed else loss.detach() * weight)
        self.total.add_(weight)

    def compute(self) -> Tensor:
        return self.loss_sum / self.total


class Accuracy(Metric):
    """Fraction of samples whose largest logit is the label's, in [0, 1].

    Equals torchmetrics' `MulticlassAccuracy(average="micro")`, needs no number of classes and takes
    labels as indices `int64 (B,)` or one-hot/soft `float (B, C)`.
    """

    higher_is_better = True
    full_state_update = False
    correct: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """`preds: float (B, C)` logits; `target: int64 (B,)` or `float (B, C)`."""
        labels = target if target.dim() == 1 else target.argmax(1)
        self.correct.add_((preds.argmax(1) == labels).sum())
        self.total.add_(len(labels))

    def compute(self) -> Tensor:
        return self.correct / self.total


class Scores(MetricCollection):
    """The metrics of one stage: each is given what it takes of what `update` is given.

    `MetricCollection` finds out anew in every step what its metrics take. torchmetrics takes no
    soft labels, such as MixUp's: its classification metrics are given the largest class.
    """

    def __init__(self, metrics: Mapping[str, Any], prefix: str) -> None:
        super().__init__(dict(metrics), prefix=prefix, compute_groups=False)
        self._takes = [
            (metric, _is_of_classes(metric), _taken(metric))
            for metric in self.values(copy_state=False)
        ]

    def update(self, **given: Any) -> None:  # type: ignore[override]
        soft = given["target"].is_floating_point()
        for metric, of_classes, keys in self._takes:
            taken = {key: given[key] for key in keys if key in given}
            if soft and of_classes:
                taken["target"] = taken["target"].argmax(1)
            metric.update(**taken)


def _is_of_classes(metric: Metric) -> bool:
    return type(metric).__module__.startswith("torchmetrics.classification")


def _taken(metric: Metric) -> list[str]:
    parameters = inspect.signature(metric.update).parameters
    return [key for key in ("loss", "preds", "target", "loss_weight") if key in parameters]


def better_direction(scores: MetricCollection, name: str) -> str:
    """ "max" or "min", as the metric says of itself; a name that no metric has counts as a loss."""
    metric = dict(scores.items()).get(name)
    return "max" if getattr(metric, "higher_is_better", False) else "min"
