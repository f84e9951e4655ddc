"""Parts of a net that differ in learning rate or weight decay, as torch's param groups."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from lit_opt.engine.base.errors import UserError


def param_groups(
    module: nn.Module, lr: float, lr_factors: Mapping[str, float] | None = None, spare: bool = False
) -> list[dict[str, Any]]:
    """The trainable parameters, a group for each learning rate and weight decay.

    `lr_factors` maps the first parts of parameter names, as `named_parameters()` gives them, to
    factors of `lr`: {"net.backbone": 0.1}; the longest that fits counts, the others have 1. With
    `spare`, weight_decay is 0 for biases, for the weights of layers whose class has Norm in its
    name and for all others of less than two dimensions; embeddings decay. If either is asked for
    the groups have names, such as net.backbone and rest/no_decay; those of factor 1 come first.

    Raises:
        UserError: if no parameter's name begins with a key of `lr_factors`, or one is negative.
    """
    factors = dict(lr_factors or {})
    named = dict(module.named_parameters())
    for part, factor in factors.items():
        if not 0 <= factor < math.inf:
            raise UserError(f"--lr_factors: the factor of {part} is {factor}; expected 0 or more")
        if not any(_begins(name, part) for name in named):
            tops = dict.fromkeys(".".join(name.split(".")[:2]) for name in named)
            shown = ", ".join(list(tops)[:10])
            raise UserError(f"--lr_factors: no parameter's name begins with {part!r}; set {shown}")
    norms = [m for m in module.modules() if "Norm" in type(m).__name__]
    of_norms = {p for norm in norms for p in norm.parameters(recurse=False)}
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, p in named.items():
        part = max((part for part in factors if _begins(name, part)), key=len, default="")
        spared = spare and (p.ndim < 2 or name.endswith("bias") or p in of_norms)
        if p.requires_grad:
            group = groups.setdefault((part, spared), {"params": []})
            group["params"].append(p)
    for (part, spared), group in groups.items():
        group["lr"] = lr * factors.get(part, 1.0)
        group |= {"weight_decay": 0.0} if spared else {}
        group |= {"name": (part or "rest") + "/no_decay" * spared} if factors or spare else {}
    return [groups[key] for key in sorted(groups)]


def _begins(name: str, part: str) -> bool:
    return f"{name}.".startswith(f"{part}.")
