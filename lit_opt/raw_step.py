"""An optimizer's step without what torch puts around it."""

from typing import Any

import torch
from torch.optim import optimizer as torch_optimizer

ALL_HOOKS = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
OWN_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """`optimizer.step()`, without its entry for torch's profiler, which takes longer than a small
    net's fused step.

    The whole of it where something takes part in it: hooks, a profiler, a scheduler that has not
    seen the first step yet; and where torch has changed what is around it.
    """
    raw = getattr(type(optimizer).step, "__wrapped__", None)
    if raw is None or not getattr(type(optimizer).step, "hooked", False) or _watched(optimizer):
        optimizer.step()
    else:
        raw(optimizer)


def _watched(optimizer: Any) -> bool:
    try:
        return (
            torch.autograd.profiler._is_profiler_enabled
            or any(getattr(torch_optimizer, name) for name in ALL_HOOKS)
            or any(getattr(optimizer, name) for name in OWN_HOOKS)
            or not _seen_by_schedulers(optimizer)
        )
    except AttributeError:
        return True


def _seen_by_schedulers(optimizer: Any) -> bool:
    """A scheduler lays a step over the optimizer's that notes that it was called."""
    own = vars(optimizer).get("step")
    return own is None or (own._wrapped_by_lr_sched and optimizer._opt_called)
