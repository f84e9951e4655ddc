"""Of several labels a sample: a table of the labels, calibration, the most wrong samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lit_opt.engine.base.targets import MultiLabel
from lit_opt.engine.reports.class_outcomes import BINS, WRONG, expected_calibration_error, names_of
from lit_opt.engine.reports.samples import Samples, Worst


class LabelOutcomes:
    """Counts a label and a bin, and the samples with the surest wrong label."""

    kind = "labels"

    def __init__(self, targets: MultiLabel, names: list[str] | None) -> None:
        self.names, self.num = names, 0
        self.counts: Any = 0  # int64 (4, K): right, told, real; wrong ones are the rest
        self.bins: Any = 0  # float64 (3, BINS): number, sum of probabilities, number that are there
        self.worst = Worst(WRONG)

    def add(self, preds: Tensor, target: Tensor) -> None:
        """Preds float (B, K), logits; target (B, K) of 0 and 1."""
        probs, real = preds.float().sigmoid(), target > 0.5
        told, self.num = preds > 0, preds.shape[1]
        self.counts = self.counts + torch.stack([(told & real).sum(0), told.sum(0), real.sum(0)])
        bins = (probs.flatten() * BINS).ceil().long().clamp(1, BINS) - 1
        values = [torch.ones_like(probs), probs, real.float()]
        sums = [bins.new_zeros(BINS, dtype=torch.float32) for _ in values]
        for total, value in zip(sums, values, strict=True):
            total.scatter_add_(0, bins, value.flatten())
        self.bins = self.bins + torch.stack(sums).cpu().double()
        off = (probs - real.float()).abs().amax(1)
        self.worst.add(off, probs, real)

    def state(self) -> list[Any]:
        return [self.counts.cpu(), self.bins, self.worst.state()]

    def summary(self, states: list[list[Any]], samples: Samples) -> dict[str, Any]:
        counts = sum(state[0] for state in states)
        number, told, there = sum(state[1] for state in states)
        bins = [
            [float(n), float(p / n) if n else 0.0, float(t / n) if n else 0.0]
            for n, p, t in zip(number, told, there, strict=True)
        ]
        worst = Worst.merged([state[2] for state in states], WRONG)
        return {
            "n": sum(state[2].seen for state in states),
            "names": names_of(self.names, self.num),
            "labels": label_table(counts),
            "bins": bins,
            "ece": expected_calibration_error(bins),
            "samples": [
                {
                    "name": samples.name(place),
                    "picture": samples.picture(place),
                    "true": real.nonzero()[:, 0].tolist(),
                    "pred": (probs > 0.5).nonzero()[:, 0].tolist(),
                    "label": (label := int((probs - real.float()).abs().argmax())),
                    "prob": round(float(probs[label]), 4),
                }
                for place, (probs, real) in worst
            ],
        }


def label_table(counts: Tensor) -> list[list[float]]:
    """Precision, recall, F1 and number of samples of each label; 0 where they are undefined."""
    right, told, real = counts.double()
    f1 = 2 * right / (told + real).clamp(min=1)
    columns = [right / told.clamp(min=1), right / real.clamp(min=1), f1, real]
    return [list(row) for row in zip(*(c.tolist() for c in columns), strict=True)]
