"""Of numbers: what was predicted beside what is true, and the samples with the largest errors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lit_opt.engine.base.targets import Regression
from lit_opt.engine.reports.samples import Samples, Worst, in_order_of_samples

A_BATCH, MOST = 65_536, 1_000_000  # values that are remembered
POINTS, OUTPUTS, WORST, BARS = 1_500, 4, 12, 30  # on the page; points of all outputs together


class NumberOutcomes:
    """Pairs of predicted and true values; of images and other fields some values of each batch."""

    kind = "numbers"

    def __init__(self, targets: Regression, names: list[str] | None) -> None:
        self.rows: list[tuple[Tensor, Tensor]] = []
        self.count, self.fields = 0, False
        self.worst = Worst(WORST)

    def add(self, preds: Tensor, target: Tensor) -> None:
        """Both float (B, K), (B,) or (B, …)."""
        preds, target = preds.float(), target.float().view_as(preds)
        off = (
            (preds - target).abs().flatten(1).mean(1) if preds.ndim > 1 else (preds - target).abs()
        )
        self.fields = preds.ndim > 2
        columns = 1 if self.fields or preds.ndim < 2 else preds.shape[1]
        preds, target = preds.reshape(-1, columns), target.reshape(-1, columns)
        if self.fields:
            self.worst.add(off)
            step = -(-len(preds) // A_BATCH)
            preds, target = preds[::step], target[::step]
        else:
            self.worst.add(off, preds, target)
        if self.count < MOST:
            self.rows.append((preds, target))
            self.count += preds.numel()

    def state(self) -> list[Any]:
        pairs = [torch.cat(parts).cpu() for parts in zip(*self.rows, strict=True)]
        return [pairs, self.worst.state()]

    def summary(self, states: list[list[Any]], samples: Samples) -> dict[str, Any]:
        parts = zip(*(state[0] for state in states), strict=True)
        preds, target = (in_order_of_samples(list(part)).double() for part in parts)
        finite = (preds.isfinite() & target.isfinite()).all(1)
        preds, target = preds[finite], target[finite]
        step = -(-preds[:, :OUTPUTS].numel() // POINTS)
        worst = Worst.merged([state[1] for state in states], WORST)
        return {
            "n": sum(state[1].seen for state in states),
            "fields": self.fields,
            "outputs": [scores_of(p, t) for p, t in zip(preds.T, target.T, strict=True)],
            "pairs": [
                torch.stack([target[::step, k], preds[::step, k]], 1).float().tolist()
                for k in range(min(OUTPUTS, preds.shape[1]))
            ],
            "residuals": [
                histogram(preds[:, k] - target[:, k]) for k in range(min(OUTPUTS, preds.shape[1]))
            ],
            "samples": [
                {
                    "name": samples.name(place),
                    "picture": samples.picture(place),
                    "pred": values[0].tolist() if values else None,
                    "true": values[1].tolist() if values else None,
                }
                for place, values in worst
            ],
        }


def scores_of(preds: Tensor, target: Tensor) -> dict[str, float]:
    """Mean absolute error, root of the mean square, R² = 1 - SS_res / SS_tot, mean error."""
    off = preds - target
    spread = (target - target.mean()).square().sum()
    r2 = 1 - off.square().sum() / spread if spread > 0 else torch.zeros(())
    scores = {"mae": off.abs().mean(), "rmse": off.square().mean().sqrt(), "r2": r2}
    return {name: float(value) for name, value in scores.items()} | {"bias": float(off.mean())}


def histogram(values: Tensor) -> list[list[float]]:
    """Where each bar begins and ends, and how many values are in it."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(values, BARS, low, high).tolist()
    edges = torch.linspace(low, high, BARS + 1, dtype=torch.float64).tolist()
    return [list(bar) for bar in zip(edges, edges[1:], counts, strict=False)]
