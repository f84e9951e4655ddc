"""The hooks that Lightning calls in every training step."""

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.model_helpers import is_overridden

STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_train_batch_end",
)


def hide_idle_hooks(trainer: Any, module: pl.LightningModule) -> None:
    """Lightning calls each hook of the module and of every callback, unless it is None."""
    owners = [(callback, pl.Callback) for callback in trainer.callbacks]
    for owner, base in [*owners, (module, pl.LightningModule)]:
        for hook in STEP_HOOKS:
            if not is_overridden(hook, owner, base):
                setattr(owner, hook, None)


def step_hooks(trainer: Any, name: str) -> list[Callable[..., Any]]:
    """Those of the callbacks, checkpoints left out, then the module's; idle ones left out."""
    module = trainer.lightning_module
    callbacks = [c for c in trainer.callbacks if not isinstance(c, Checkpoint) and getattr(c, name)]
    hooks: list[Any] = [partial(getattr(c, name), trainer, module) for c in callbacks]
    return [*hooks, *filter(None, [getattr(module, name)])]
