"""Metrics counted on the device, reduced over processes once an epoch, exact over samples."""

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection


class MeanLoss(Metric):
    """The loss averaged over samples: the last, smaller batch weighs less than a full one."""

    higher_is_better = False
    full_state_update = False
    loss_sum: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("loss_sum", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, target: Tensor) -> None:
        """`loss: float ()`, the mean over this batch; `target: (B, …)`."""
        self.loss_sum += loss.detach() * len(target)
        self.total += len(target)

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
        self.correct += (preds.argmax(1) == labels).sum()
        self.total += len(labels)

    def compute(self) -> Tensor:
        return self.correct / self.total


def better(scores: MetricCollection, name: str) -> str:
    """ "max" or "min", as the metric says of itself; a name that no metric has counts as a loss."""
    metric = dict(scores.items()).get(name)
    return "max" if getattr(metric, "higher_is_better", False) else "min"
