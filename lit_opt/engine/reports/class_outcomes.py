"""Of one class a sample: confusion matrix, table of the classes, calibration, wrong samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lit_opt.engine.base.targets import Classes
from lit_opt.engine.reports.samples import Samples, in_order_of_samples

SHOWN = 20  # classes of the matrix; of more, those with the most errors
A_CELL, WRONG, PICTURES = 4, 24, 400  # samples a cell of the matrix, the most wrong ones, in all
BINS = 15  # of the calibration, as in Guo et al. 2017
MOST = 2_000_000  # samples that are remembered


class ClassOutcomes:
    """What was predicted of every sample, 12 bytes each, on the device until the end."""

    kind = "classes"

    def __init__(self, targets: Classes, names: list[str] | None) -> None:
        self.targets, self.names, self.num = targets, names, 0
        self.rows: list[tuple[Tensor, Tensor, Tensor]] = []
        self.count = 0

    def add(self, preds: Tensor, target: Tensor) -> None:
        """Preds float (B, C), logits; target int64 (B,), or float (B, C) whose largest counts."""
        if self.count < MOST:
            preds, target = self.targets.plain(preds, target)
            probs, best = preds.float().softmax(1).max(1)
            self.rows.append((probs, best.int(), target.int()))
            self.count, self.num = self.count + len(target), preds.shape[1]

    def state(self) -> list[Tensor]:
        """Confidences, predicted and true classes, each (N,), of this process."""
        return [torch.cat(parts).cpu() for parts in zip(*self.rows, strict=True)]

    def summary(self, states: list[list[Tensor]], samples: Samples) -> dict[str, Any]:
        """What the page shows, as plain values; `states` of all processes."""
        probs, preds, target = (in_order_of_samples(parts) for parts in zip(*states, strict=True))
        table = class_table(target, preds, self.num)
        shown = most_confused(target, preds, self.num)
        wrong = most_wrong(probs, preds, target)
        bins = calibration(probs, preds == target)
        places = list(dict.fromkeys([*wrong, *of_cells(probs, preds, target, shown)]))[:PICTURES]
        return {
            "n": len(target),
            "names": names_of(self.names, self.num),
            "shown": shown,
            "matrix": confusion(target, preds, shown).tolist(),
            "classes": table,
            "pairs": confused_pairs(target, preds, self.num),
            "bins": bins,
            "ece": expected_calibration_error(bins),
            "wrong": wrong,
            "samples": [
                {
                    "place": place,
                    "name": samples.name(place),
                    "true": int(target[place]),
                    "pred": int(preds[place]),
                    "prob": round(float(probs[place]), 4),
                    "picture": samples.picture(place),
                }
                for place in places
            ],
        }


def names_of(names: list[str] | None, num: int) -> list[str]:
    """Those that the data gives, if they are as many as the outputs."""
    return list(names) if names and len(names) == num else [str(k) for k in range(num)]


def confusion(target: Tensor, preds: Tensor, shown: list[int]) -> Tensor:
    """int64 (S, S): how many samples of the row's class were predicted as the column's.

    `shown`: the classes, ascending; samples of or predicted as others are left out.
    """
    classes, size = torch.tensor(shown, dtype=torch.int32), len(shown)
    both = torch.isin(target, classes) & torch.isin(preds, classes)
    row, column = (torch.searchsorted(classes, t[both]) for t in (target, preds))
    return (row * size + column).bincount(minlength=size * size).view(size, size)


def most_confused(target: Tensor, preds: Tensor, num: int) -> list[int]:
    """At most 20 classes: all of them, or those that are most often one side of an error."""
    if num <= SHOWN:
        return list(range(num))
    wrong = preds != target
    errors = sum(t[wrong].long().bincount(minlength=num) for t in (target, preds))
    order = torch.as_tensor(errors).argsort(descending=True, stable=True)
    return sorted(order[:SHOWN].tolist())


def class_table(target: Tensor, preds: Tensor, num: int) -> list[list[float]]:
    """Precision, recall, F1 and number of samples of each class; 0 where they are undefined."""
    hits = target[preds == target].long().bincount(minlength=num).double()
    real, told = (t.long().bincount(minlength=num) for t in (target, preds))
    f1 = 2 * hits / (real + told).clamp(min=1)
    columns = [hits / told.clamp(min=1), hits / real.clamp(min=1), f1, real]
    return [list(row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def confused_pairs(target: Tensor, preds: Tensor, num: int, most: int = 10) -> list[list[int]]:
    """True class, predicted class and how often, of the most frequent errors."""
    wrong = preds != target
    pairs = target[wrong].long() * num + preds[wrong].long()
    pairs, counts = torch.unique(pairs, return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:most]
    return [[int(pairs[k]) // num, int(pairs[k]) % num, int(counts[k])] for k in order]


def calibration(probs: Tensor, hits: Tensor) -> list[list[float]]:
    """Number, mean confidence and accuracy of the samples in each of 15 bins ((m-1)/15, m/15]."""
    bins = (probs.double() * BINS).ceil().long().clamp(1, BINS) - 1
    number = bins.bincount(minlength=BINS)
    sums = [bins.bincount(v.double(), minlength=BINS) for v in (probs, hits)]
    means = [(total / number.clamp(min=1)).tolist() for total in sums]
    return [list(row) for row in zip(number.tolist(), *means, strict=True)]


def expected_calibration_error(bins: list[list[float]]) -> float:
    """ECE = sum over bins m of n_m / N |acc_m - conf_m| (Guo et al. 2017, eq. 3)."""
    total = sum(n for n, _, _ in bins)
    return sum(n * abs(acc - conf) for n, conf, acc in bins) / total if total else 0.0


def most_wrong(probs: Tensor, preds: Tensor, target: Tensor) -> list[int]:
    """Places of the wrong samples of which the net was surest."""
    wrong = (preds != target).nonzero()[:, 0]
    order = probs[wrong].argsort(descending=True, stable=True)[:WRONG]
    return [int(place) for place in wrong[order]]


def of_cells(probs: Tensor, preds: Tensor, target: Tensor, shown: list[int]) -> list[int]:
    """Places of at most 4 samples of each cell of the matrix, those of wrong cells first.

    Of a wrong cell the surest ones, of a right one the least sure.
    """
    classes = torch.tensor(shown, dtype=torch.int32)
    places = (torch.isin(target, classes) & torch.isin(preds, classes)).nonzero()[:, 0]
    right = preds[places] == target[places]
    sure = torch.where(right, -probs[places], probs[places])
    places = places[sure.argsort(descending=True, stable=True)]
    cells = target[places].long() * (int(max(shown, default=0)) + 1) + preds[places]
    order = cells.argsort(stable=True)  # within a cell they stay in the order of `sure`
    places, cells = places[order], cells[order]
    rank = torch.arange(len(cells)) - torch.searchsorted(cells, cells)
    first = places[rank < A_CELL]
    wrong = preds[first] != target[first]
    return [*first[wrong].tolist(), *first[~wrong].tolist()]
