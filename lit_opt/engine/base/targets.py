"""What the targets y of a data set are: declared once, by its source; all else asks here.

A source says `targets = MultiLabel()`. Default loss, metrics and checks, the cut of the validation
and the file of predictions follow. Legend: N samples (B in a batch), C classes, T tokens, K labels
or numbers a sample; `num` is C or K. A kind of your own: a subclass of the nearest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Classes:
    """One class a sample: y integers (N,) in [0, C), logits float (B, C)."""

    y: str = "integers (N,), the classes"  # what is expected, for messages
    loss: str | None = None  # import path of the default; None: the module's own
    metrics: tuple[str, ...] = ("acc",)
    refused: tuple[str, ...] = ()  # losses of torch.nn that are for something else
    instead = "CrossEntropyLoss"
    named = True  # whether outputs have names: the classes or labels
    ignore_index: int | None = None  # of y that does not count
    predicted = "the likeliest class and its probability"  # what predictions() gives, for messages

    def fits(self, y: Tensor) -> bool:
        """Whether y has the dtype and the number of axes that are declared."""
        return y.ndim == 1 and not y.is_floating_point()

    def loaded(self, y: Tensor) -> Tensor:
        """y, which fits, as it is kept in memory."""
        return y.long() if y.dtype == torch.bool else y

    def wrong(self, y: Tensor, num: int) -> str | None:
        """What is wrong with the values of y, which fits; None if nothing is."""
        bad = (y < 0) | (y >= num)
        if self.ignore_index is not None:
            bad &= y != self.ignore_index
        where = bad.nonzero()
        if not len(where):
            return None
        label, sample = y[tuple(where[0])], where[0, 0]
        return (
            f"label {label} at sample {sample} ({len(where)} such labels);\n"
            f"expected 0 to {num - 1}: correct the labels, or the data set's classes"
        )

    def outputs(self, y: Tensor) -> int:
        """C or K, counted in y."""
        return int(y.max()) + 1

    def shape_of_outputs(self, num: int, y_shape: Sequence[int]) -> tuple[int, ...]:
        """What the net puts out for one sample whose y has the shape `y_shape`."""
        return (num,)

    def fits_net(self, shape: tuple[int, ...], in_shape: tuple[int, ...]) -> bool:
        """Whether samples of `shape` can be given to a net that is made for `in_shape`."""
        return shape == in_shape

    def strata(self, y: Tensor) -> Tensor:
        """int64 (N,): the groups that validation takes its fraction of, each alike."""
        return y.long()

    def loss_weights(self, y: Tensor, num: int) -> dict[str, list[float]]:
        """Arguments of the loss by which all classes count alike; none where there are no classes.

        N / (C n_c) for class c, as scikit-learn's "balanced"; 0 for one that y lacks.
        """
        counts = y.flatten()[(y >= 0).flatten()].long().bincount(minlength=num).double()
        weights = counts.sum() / (num * counts)
        return {"weight": weights.where(counts > 0, 0).float().tolist()}

    def task(self, num: int) -> str | None:
        """Torchmetrics' word for it; None: the metrics of regression."""
        return "multiclass"

    def plain(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Preds (B, C, …) and int64 target (B, …) as metrics of classes take them.

        Soft targets, such as MixUp's, count as their largest class.
        """
        soft = target.is_floating_point() and target.shape == preds.shape and preds.shape[1] > 1
        return preds, target.argmax(1) if soft else target

    def predictions(self, outputs: Tensor, names: Sequence[str] | None) -> tuple[list[str], Any]:
        """Columns of predictions.csv and a row a sample; without columns: an array a sample."""
        probs, preds = (best.tolist() for best in outputs.softmax(1).max(1))
        names = names or [str(c) for c in range(outputs.shape[1])]
        rows = [[c, names[c], f"{p:.4f}"] for c, p in zip(preds, probs, strict=True)]
        return ["pred", "class", "prob"], rows


class SoftLabels(Classes):
    """A probability for each class: y float (N, C) >= 0, rows sum to 1; logits float (B, C)."""

    y = "float (N, C), rows that sum to 1"
    refused: tuple[str, ...] = ("MultiMarginLoss",)

    def fits(self, y: Tensor) -> bool:
        return y.ndim == 2 and y.shape[1] > 1 and y.is_floating_point()

    def loaded(self, y: Tensor) -> Tensor:
        return y.float()

    def wrong(self, y: Tensor, num: int) -> str | None:
        if y.shape[1] != num:
            return f"{y.shape[1]} columns of y; expected {num}, one for each class"
        bad = ((y.sum(1) - 1).abs() > 1e-3) | (y < 0).any(1)
        if not bad.any():
            return None
        row = int(bad.nonzero()[0])
        return (
            f"y is {y[row].tolist()[:4]} at sample {row} ({int(bad.sum())} such samples);\n"
            "expected probabilities, rows that sum to 1; for several labels at once declare\n"
            "MultiLabel(), for numbers Regression() as the source's `targets`"
        )

    def outputs(self, y: Tensor) -> int:
        return y.shape[1]

    def loss_weights(self, y: Tensor, num: int) -> dict[str, list[float]]:
        return {"weight": (y.sum() / (num * y.sum(0).clamp(min=1e-12))).tolist()}

    def strata(self, y: Tensor) -> Tensor:
        return torch.zeros(len(y), dtype=torch.int64)  # one group: cut at random


class MultiLabel(SoftLabels):
    """Several labels at once, each there or not: y (N, K) or (N,) of 0 and 1, logits (B, K).

    With one label, K = 1, it is a binary classification by a net with one output.
    """

    y = "(N, K) or (N,) of 0 and 1, a column a label"
    loss = "torch.nn.BCEWithLogitsLoss"
    refused = ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss", "KLDivLoss")
    instead = "BCEWithLogitsLoss"
    predicted = "a probability for each label"

    def fits(self, y: Tensor) -> bool:
        return y.ndim in (1, 2)

    def loaded(self, y: Tensor) -> Tensor:
        return y.float().view(len(y), -1)

    def wrong(self, y: Tensor, num: int) -> str | None:
        if y.shape[1] != num:
            return f"{y.shape[1]} columns of y; expected {num}, one for each label"
        bad = ((y != 0) & (y != 1)).nonzero()
        if not len(bad):
            return None
        row, column = bad[0].tolist()
        return f"y is {y[row, column]:g} at sample {row}, column {column}; expected 0 or 1"

    def loss_weights(self, y: Tensor, num: int) -> dict[str, list[float]]:
        """Those without a label by those with it, for each label."""
        having = y.sum(0)
        return {"pos_weight": ((len(y) - having) / having.clamp(min=1)).tolist()}

    def strata(self, y: Tensor) -> Tensor:
        return y[:, 0].long() if y.shape[1] == 1 else super().strata(y)

    def task(self, num: int) -> str | None:
        return "binary" if num == 1 else "multilabel"

    def plain(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, K), target int64; (B,) for one label. MixUp's targets are rounded."""
        target = (target > 0.5).long()
        return (preds, target) if preds.shape[1] > 1 else (preds[:, 0], target[:, 0])

    def predictions(self, outputs: Tensor, names: Sequence[str] | None) -> tuple[list[str], Any]:
        names = names or [str(k) for k in range(outputs.shape[1])]
        return list(names), [[f"{p:.4f}" for p in row] for row in outputs.sigmoid().tolist()]


class Regression(SoftLabels):
    """Numbers: y (N, K), (N,) or of more axes, such as images; float outputs of that shape."""

    y = "numbers (N, K), (N,) or (N, …)"
    loss = "torch.nn.MSELoss"
    metrics = ()
    refused = ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss")
    instead = "MSELoss"
    named = False
    predicted = "the outputs"

    def fits(self, y: Tensor) -> bool:
        return y.ndim > 0 and not y.is_complex()

    def loaded(self, y: Tensor) -> Tensor:
        return y.float().view(len(y), -1) if y.ndim == 1 else y.float()

    def wrong(self, y: Tensor, num: int) -> str | None:
        return None if y.shape[1] == num else f"{y.shape[1]} targets a sample; expected {num}"

    def shape_of_outputs(self, num: int, y_shape: Sequence[int]) -> tuple[int, ...]:
        return (num, *y_shape[1:])

    def loss_weights(self, y: Tensor, num: int) -> dict[str, list[float]]:
        return {}

    def task(self, num: int) -> str | None:
        return None

    def plain(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, K), or (B,) for one number a sample."""
        one = preds.ndim == 2 and preds.shape == target.shape and preds.shape[1] == 1
        return (preds[:, 0], target[:, 0]) if one else (preds, target)

    def predictions(self, outputs: Tensor, names: Sequence[str] | None) -> tuple[list[str], Any]:
        if outputs.ndim > 2:
            return [], list(outputs.numpy())
        return [f"output_{k}" for k in range(outputs[0].numel())], outputs.flatten(1).tolist()


class DenseClasses(Classes):
    """A class for every place, such as a pixel: y integers (N, H, W), logits float (B, C, H, W).

    Args:
        ignore_index: The y that counts neither in the loss nor in the metrics.
    """

    y = "integers (N, H, W), a class for each place"
    loss = "torch.nn.CrossEntropyLoss"
    refused: tuple[str, ...] = ("MultiMarginLoss", "MultiLabelSoftMarginLoss")
    predicted = "the likeliest class of each place"

    def __init__(self, ignore_index: int = -100) -> None:
        self.ignore_index = ignore_index

    def fits(self, y: Tensor) -> bool:
        return y.ndim >= 2 and not y.is_floating_point()

    def outputs(self, y: Tensor) -> int:
        counted: Any = y != self.ignore_index
        return int(y.where(counted, 0).max()) + 1

    def shape_of_outputs(self, num: int, y_shape: Sequence[int]) -> tuple[int, ...]:
        return (num, *y_shape)

    def strata(self, y: Tensor) -> Tensor:
        return torch.zeros(len(y), dtype=torch.int64)

    def predictions(self, outputs: Tensor, names: Sequence[str] | None) -> tuple[list[str], Any]:
        return [], list(outputs.argmax(1).int().numpy())


class NextToken(DenseClasses):
    """The token that follows at each place: y integers (N, T), logits float (B, T, C)."""

    y = "integers (N, T), the tokens that follow"
    refused = ()
    predicted = "the likeliest token of each place"

    def shape_of_outputs(self, num: int, y_shape: Sequence[int]) -> tuple[int, ...]:
        return (*y_shape, num)

    def fits_net(self, shape: tuple[int, ...], in_shape: tuple[int, ...]) -> bool:
        """Shorter texts, too, such as prompts."""
        return len(shape) == len(in_shape) == 1 and 0 < shape[0] <= in_shape[0]

    def plain(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Preds (B·T, C) and target (B·T,)."""
        return preds.flatten(0, -2), target.flatten()

    def predictions(self, outputs: Tensor, names: Sequence[str] | None) -> tuple[list[str], Any]:
        return [], list(outputs.argmax(-1).int().numpy())


def inferred(y: Tensor) -> Classes | None:
    """What y is where nothing declares it: classes or soft labels; None if it could be more."""
    for targets in (Classes(), SoftLabels()):
        if targets.fits(y) and targets.wrong(y, targets.outputs(y) if len(y) else 0) is None:
            return targets
    return Classes() if Classes().fits(y) else None  # with a label that is wrong
