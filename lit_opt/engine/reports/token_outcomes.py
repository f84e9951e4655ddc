"""Of the next token: loss by place, samples with what was expected, and a text it goes on with."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_opt.engine.base.targets import NextToken
from lit_opt.engine.reports.class_outcomes import names_of
from lit_opt.engine.reports.samples import Samples, Worst

FIRST, WRITTEN, TEXTS, SECONDS = 6, 120, 3, 1.0


class TokenOutcomes:
    """Sums of the loss by the place in the sample, and the first samples."""

    kind = "tokens"

    def __init__(self, targets: NextToken, names: list[str] | None) -> None:
        self.ignored, self.names, self.num = targets.ignore_index, names, 0
        self.sums: Any = 0  # float64 (3, T): loss, tokens predicted rightly, tokens
        self.first = Worst(FIRST)

    def add(self, preds: Tensor, target: Tensor) -> None:
        """Preds float (B, T, C), logits; target int64 (B, T)."""
        self.num = preds.shape[-1]
        options: Any = {"reduction": "none", "ignore_index": self.ignored}
        loss = F.cross_entropy(preds.float().flatten(0, 1), target.flatten(), **options)
        best = preds.argmax(-1)
        counted = target.ne(-1 if self.ignored is None else self.ignored)
        right = (best == target) & counted
        sums = torch.stack([t.float().sum(0) for t in (loss.view_as(target), right, counted)])
        self.sums = self.sums + sums.cpu().double()
        early = torch.arange(len(target), device=target.device) + self.first.seen
        self.first.add(-early, best.int(), target.int())

    def state(self) -> list[Any]:
        return [self.sums, self.first.state()]

    def summary(self, states: list[list[Any]], samples: Samples) -> dict[str, Any]:
        loss, right, number = sum(state[0] for state in states)
        first = Worst.merged([state[1] for state in states], FIRST)
        names = names_of(self.names, self.num)
        total = number.sum().clamp(min=1)
        return {
            "n": sum(state[1].seen for state in states),
            "tokens": int(number.sum()),
            "perplexity": float((loss.sum() / total).exp()),
            "accuracy": float(right.sum() / total),
            "by_place": (loss / number.clamp(min=1)).tolist()[:2000],
            "joined": "" if all(len(name) <= 1 for name in names) else " ",
            "texts": [
                {
                    "name": samples.name(place),
                    "true": [_word(k, names) for k in target.tolist()[:500]],
                    "pred": [_word(k, names) for k in best.tolist()[:500]],
                }
                for place, (best, target) in first
            ],
            "written": _if_it_can(samples, names),
        }


def _word(token: int, names: list[str]) -> str:
    return names[token] if 0 <= token < len(names) else "·"


def _if_it_can(samples: Samples, names: list[str]) -> list[dict[str, Any]]:
    with suppress(Exception):  # a net that takes something else than tokens (B, T)
        return continued(samples, names)
    return []


@torch.no_grad()
def continued(samples: Samples, names: list[str]) -> list[dict[str, Any]]:
    """How the net goes on with the first samples, drawn at temperature 0.8 from its softmax.

    It reads the T tokens before each, as in training; it stops after a second.
    """
    found = [samples.x(place) for place in range(TEXTS)]
    if samples.net is None or not all(isinstance(x, Tensor) and x.ndim == 1 for x in found):
        return []
    tokens = torch.stack(found).long().to(samples.device)
    length, draw, end = (
        tokens.shape[1],
        torch.Generator().manual_seed(0),
        time.monotonic() + SECONDS,
    )
    for _ in range(WRITTEN):
        if time.monotonic() > end:
            break
        logits = samples.net(tokens[:, -length:])[:, -1].float().cpu() / 0.8  # (TEXTS, C)
        new = torch.multinomial(logits.softmax(1), 1, generator=draw)
        tokens = torch.cat([tokens, new.to(tokens.device)], dim=1)
    return [
        {
            "name": samples.name(place),
            "given": [_word(k, names) for k in row[:length]],
            "added": [_word(k, names) for k in row[length:]],
        }
        for place, row in enumerate(tokens.tolist())
    ]
