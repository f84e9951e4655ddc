"""Metrics counted on the device, reduced over processes once an epoch, exact over samples."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import ClasswiseWrapper, Metric, MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassStatScores

from lit_opt.engine.base.errors import warn_once
from lit_opt.engine.base.targets import Classes


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

    Equals torchmetrics' `MulticlassAccuracy(average="micro")` and needs no number of classes. For
    several labels at once the fraction of all labels whose logit has the right sign.

    Args:
        top_k: A sample counts as right if the label is among that many largest logits.
        ignore_index: The label that does not count.
    """

    higher_is_better = True
    full_state_update = False
    correct: Tensor
    total: Tensor

    def __init__(self, top_k: int = 1, ignore_index: int | None = None) -> None:
        super().__init__()
        self.top_k, self.ignore_index = top_k, ignore_index
        self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """`preds: float (B, C, …)` logits, `target: int64 (B, …)`; or both (B, K) or (B,)."""
        if preds.ndim == target.ndim:
            hits = (preds > 0) == (target > 0.5)
        elif self.top_k > 1:
            hits = (preds.topk(self.top_k, 1).indices == target.unsqueeze(1)).any(1)
        else:
            hits = preds.argmax(1) == target
        if self.ignore_index is None:
            self.total.add_(target.numel())
        else:
            counted = target != self.ignore_index
            hits = hits & counted
            self.total.add_(counted.sum())
        self.correct.add_(hits.sum())

    def compute(self) -> Tensor:
        return self.correct / self.total


class Scores(MetricCollection):
    """The metrics of one stage: each is given what it takes of what `update` is given.

    `MetricCollection` finds out anew in every step what its metrics take.
    """

    def __init__(self, metrics: Mapping[str, Any], prefix: str) -> None:
        super().__init__(dict(metrics), prefix=prefix, compute_groups=False)
        self.tables: dict[str, Any] = {}  # of the last `compute`, by the names of their metrics
        self.watch: Callable[[Tensor, Tensor], None] | None = None  # is given preds and target, too
        self.follow(Classes(), None)

    def follow(self, targets: Classes, names: Sequence[str] | None) -> None:
        """Gives metrics y as they are declared, `names` to their values; once a fit."""
        self.names = list(names or ())
        self._takes = []
        for metric in self.values(copy_state=False):
            if isinstance(metric, Accuracy) and metric.ignore_index is None:
                metric.ignore_index = targets.ignore_index
            if isinstance(metric, ClasswiseWrapper) and metric.labels is None:
                metric.labels = self.names or None
            self._takes.append((metric, _view(metric, targets), _taken(metric)))

    def update(self, preds: Tensor, target: Tensor, **given: Any) -> None:  # type: ignore[override]
        given |= {"preds": preds, "target": target}
        if self.watch:
            self.watch(preds, target)
        for metric, view, keys in self._takes:
            taken = {key: given[key] for key in keys if key in given}
            if view:
                taken["preds"], taken["target"] = view(preds, target)
            metric.update(**taken) if keys else metric.update(*taken.values())

    def compute(self) -> dict[str, Tensor]:
        """All that is a number, by name: `val/acc`, a class's `val/f1/cat`, a dict's `val/acc/max`.

        What is no number or one number a class, such as a matrix or a curve, is put in `tables`.
        """
        numbers: dict[str, Tensor] = {}
        self.tables = {}
        for name, metric in self.items(copy_state=False):
            self._sort(name, metric.compute(), numbers)
        return numbers

    def _sort(self, name: str, value: Any, numbers: dict[str, Tensor]) -> None:
        of_numbers = isinstance(value, list | tuple) and all(map(_is_number, value))
        if _is_number(value):
            numbers[name] = torch.as_tensor(value).reshape(())
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                self._sort(f"{name}/{key}", inner, numbers)
        elif of_numbers or (isinstance(value, Tensor) and value.ndim == 1):
            keys = self.names if len(self.names) == len(value) else range(len(value))
            for key, inner in zip(keys, value, strict=True):
                numbers[f"{name}/{key}"] = inner
        else:
            self.tables[name] = value


def _is_number(value: Any) -> bool:
    return value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, int | float)


def _leaf(metric: Metric) -> Metric:
    """The metric itself, or what a wrapper of torchmetrics is around."""
    inner = [m for m in metric.modules() if isinstance(m, Metric)]
    wrappers = "torchmetrics.wrappers"
    return next((m for m in inner if not type(m).__module__.startswith(wrappers)), metric)


# F1, precision, recall and the like; IoU, Cohen's kappa and the like: they look at classes alone.
OF_CLASSES = (MulticlassStatScores, MulticlassConfusionMatrix)

View = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _view(metric: Metric, targets: Classes) -> View | None:
    """What makes of a batch's preds and targets those that a metric takes; None: as they are."""
    leaf = _leaf(metric)
    home = type(leaf).__module__
    if home.startswith("torchmetrics.segmentation"):
        return partial(_maps, getattr(leaf, "input_format", "one-hot"), targets.ignore_index)
    if isinstance(leaf, OF_CLASSES) and getattr(leaf, "top_k", 1) == 1:
        return partial(_classes, targets)
    if home.startswith("torchmetrics.classification"):
        return partial(_probs, targets, type(leaf).__name__.startswith("Binary"))
    if isinstance(leaf, Accuracy) or home.startswith("torchmetrics.regression"):
        return targets.plain
    return None if _taken(metric) else _as_they_are


def _as_they_are(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return preds, target


def _classes(targets: Classes, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest class int64 (B, …), without probabilities of all: for masks much less work."""
    preds, target = targets.plain(preds, target)
    return preds.argmax(1) if preds.ndim > target.ndim else preds, target


def _probs(targets: Classes, binary: bool, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities: torchmetrics would ask each batch anew whether its numbers could be some."""
    preds, target = targets.plain(preds, target)
    if preds.ndim > target.ndim:
        preds = preds.float().softmax(1)
        if binary and preds.shape[1] == 2:
            preds = preds[:, 1]
    else:
        preds = preds.float().sigmoid()
    if binary and preds.shape != target.shape:
        raise ValueError("expected one output, or those of two classes")
    return preds, target


def _maps(form: str, ignored: int | None, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted and true classes int64 (B, H, W), or one-hot (B, C, H, W), 0 where y is ignored."""
    if form == "index":
        return preds.argmax(1), target
    counted = target != (-1 if ignored is None else ignored)
    right = F.one_hot(target.where(counted, 0), preds.shape[1]).movedim(-1, 1)
    seen = F.one_hot(preds.argmax(1), preds.shape[1]).movedim(-1, 1)
    return seen * counted.unsqueeze(1), right * counted.unsqueeze(1)


def _taken(metric: Metric) -> list[str]:
    """The arguments of `update` by their names; empty: preds and target by their positions."""
    parameters = inspect.signature(metric.update).parameters
    keys = [key for key in ("loss", "preds", "target", "loss_weight") if key in parameters]
    return keys if keys != ["preds"] or len(parameters) == 1 else []


def follow_data(trainer: Any, *parts: Any) -> None:
    """Tells a loss and scores what the trainer's data declares; nothing, if it declares nothing."""
    data = getattr(trainer, "datamodule", None)
    if targets := getattr(data, "targets", None):
        for part in parts:
            part.follow(targets, getattr(data, "class_names", None))


# Words in the names of metrics that are better the larger they are, where torchmetrics doesn't say.
LARGER = ("Specificity", "Sensitivity", "Predictive", "Recall", "Precision", "CorrCoef")


def better_direction(scores: MetricCollection, name: str) -> str:
    """ "max" or "min", as the metric says of itself; a name that no metric has counts as a loss.

    `name`: of a metric, or of one of its numbers, such as `val/f1/cat`.
    """
    metrics = dict(scores.items(copy_state=False))
    owner = next((m for key, m in metrics.items() if f"{name}/".startswith(f"{key}/")), None)
    if owner is None:
        return "min"
    leaf = _leaf(owner)
    says, kind = leaf.higher_is_better, type(leaf).__name__
    if says is None and any(word in kind for word in LARGER):
        return "max"
    if says is None:
        warn_once(
            f"{kind} doesn't say whether more is better; for the best checkpoint less is, unless "
            "its class has higher_is_better = True"
        )
    return "max" if says else "min"
