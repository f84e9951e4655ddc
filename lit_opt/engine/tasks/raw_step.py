"""An optimizer's step without what torch puts around it."""

from typing import Any

import torch
from torch.optim import optimizer as torch_optimizer

ALL_HOOKS = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
OWN_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """`optimizer.step()`, without its entry for torch.profiler, which takes longer than a small
    net's fused step.

    The whole of it where something takes part in it: hooks, torch.profiler, a step of somebody's
    own, a scheduler that has not seen the first one yet; and where torch has changed what is around
    it.
    """
    if _watched(optimizer):
        optimizer.step()
    else:
        type(optimizer).step.__wrapped__(optimizer)  # type: ignore[attr-defined]


def _watched(optimizer: Any) -> bool:
    step = type(optimizer).step
    try:
        return (
            not step.hooked
            or hasattr(step.__wrapped__, "hooked")  # then something is laid over torch's own
            or torch.autograd.profiler._is_profiler_enabled
            or any(getattr(torch_optimizer, name) for name in ALL_HOOKS)
            or any(getattr(optimizer, name) for name in OWN_HOOKS)
            or not _seen_by_schedulers(optimizer)
        )
    except AttributeError:
        return True


def _seen_by_schedulers(optimizer: Any) -> bool:
    """A scheduler lays a step over the optimizer's that notes that it was called."""
    own = vars(optimizer).get("step")
    return own is None or (own.__wrapped__ is type(optimizer).step and optimizer._opt_called)
