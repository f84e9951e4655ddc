"""Of a class for every place: confusion matrix of the places, overlap, the most wrong pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lit_opt.engine.base.targets import DenseClasses
from lit_opt.engine.reports.class_outcomes import SHOWN, names_of
from lit_opt.engine.reports.samples import Samples, Worst, as_bytes, data_url

CLASSES, WORST, FIRST = 2_000, 8, 4  # no matrix for more classes; pictures
OVERLAY_SIDE = 128  # pixels
HUES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#8b5cf6"]


class MaskOutcomes:
    """Counts of places by true and predicted class, and the samples with the most wrong places."""

    kind = "masks"

    def __init__(self, targets: DenseClasses, names: list[str] | None) -> None:
        self.ignored, self.names = targets.ignore_index, names
        self.counts: Any = 0  # int64 (C, C)
        self.num = 0
        self.worst, self.first = Worst(WORST), Worst(FIRST)

    def add(self, preds: Tensor, target: Tensor) -> None:
        """Preds float (B, C, …), logits; target int64 (B, …)."""
        self.num = num = preds.shape[1]
        best, counted = preds.argmax(1), (target >= 0) & (target < num)
        counted &= target != self.ignored
        if num <= CLASSES:
            cells = (target * num + best)[counted]
            self.counts = self.counts + cells.bincount(minlength=num * num).view(num, num)
        wrong = ((best != target) & counted).flatten(1).sum(1)
        share = wrong / counted.flatten(1).sum(1).clamp(min=1)
        short = torch.int16 if num <= CLASSES else torch.int32
        maps = best.to(short), target.where(counted, -1).to(short)
        self.worst.add(share, *maps)
        early = torch.arange(len(share), device=share.device) + self.first.seen
        self.first.add(-early, *maps)

    def state(self) -> list[Any]:
        return [self.counts.cpu(), self.worst.state(), self.first.state()]

    def summary(self, states: list[list[Any]], samples: Samples) -> dict[str, Any]:
        counts = sum(state[0] for state in states)
        worst = Worst.merged([state[1] for state in states], WORST)
        first = Worst.merged([state[2] for state in states], FIRST)
        usual = int(counts.sum(1).argmax())  # the class without a colour
        wrong = counts - counts.diag().diag()
        shown = (wrong.sum(0) + wrong.sum(1)).argsort(descending=True, stable=True)[:SHOWN]
        shown = sorted(shown.tolist())
        return {
            "n": sum(state[1].seen for state in states),
            "names": names_of(self.names, self.num),
            "shown": shown,
            "usual": usual,
            "matrix": counts[shown][:, shown].tolist(),
            "classes": overlap(counts),
            "worst": [_pictures(samples, place, maps, usual) for place, maps in worst],
            "first": [_pictures(samples, place, maps, usual) for place, maps in first],
        }


def overlap(counts: Tensor) -> list[list[float]]:
    """IoU, precision, recall and number of places of each class; 0 where they are undefined."""
    hits, real, told = counts.diag().double(), counts.sum(1), counts.sum(0)
    columns = [hits / (real + told - hits).clamp(min=1), hits / told.clamp(min=1)]
    columns += [hits / real.clamp(min=1), real]
    return [list(row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def _pictures(samples: Samples, place: int, maps: list[Tensor], usual: int) -> dict[str, Any]:
    pred, true = (m.long() for m in maps)
    counted = true >= 0
    wrong = float(((pred != true) & counted).sum() / counted.sum().clamp(min=1))
    told = {"name": samples.name(place), "wrong": round(wrong, 4), "pictures": []}
    x = samples.x(place)
    if pred.ndim == 2:
        fits = isinstance(x, Tensor) and x.ndim == 3 and x.shape[1:] == pred.shape
        image = as_bytes(x[:3] if len(x) > 2 else x[:1]) if fits else pred.new_zeros(1, *pred.shape)
        image = image.expand(3, -1, -1).to(torch.uint8)
        plain = [data_url(image, side=OVERLAY_SIDE)] if fits else []
        overlays = [data_url(overlay(image, m, usual), side=OVERLAY_SIDE) for m in (true, pred)]
        told["pictures"] = [*plain, *overlays]
    return told


def overlay(image: Tensor, classes: Tensor, usual: int) -> Tensor:
    """uint8 (3, H, W): the classes (H, W) as colours over the image, those of `usual` left out."""
    hues = torch.tensor([[int(hue[k : k + 2], 16) for k in (1, 3, 5)] for hue in HUES])
    colour = hues[classes.clamp(min=0) % len(HUES)].movedim(-1, 0)
    mixed = (0.4 * image + 0.6 * colour).round().to(torch.uint8)
    return torch.where((classes < 0) | (classes == usual), image, mixed)
