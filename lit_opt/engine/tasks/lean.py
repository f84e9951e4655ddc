"""Lightning's training step with less around it; the arithmetic is the same bit for bit.

Each short cut steps aside where it would change what Lightning does.
"""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_opt.engine.optim.planned_steps import planned_steps
from lit_opt.engine.optim.schedulers import finished
from lit_opt.engine.tasks.raw_step import take_step


class NoProfiler(PassThroughProfiler):
    """Lightning's default profiler, without a generator for each of forty hooks a step."""

    _nothing: AbstractContextManager[None] = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return self._nothing


class LeanModule(pl.LightningModule):
    """A LightningModule whose step costs less outside the net, the loss and the optimizer."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Lightning inspects `training_step` in every step; a stored signature is read at once."""
        super().__init_subclass__(**kwargs)
        step = cls.training_step
        step.__signature__ = inspect.signature(step)  # type: ignore[attr-defined]

    @property
    def may_fuse(self) -> bool:
        """Whether fused optimizers may be used; with a GradScaler they refuse clipping."""
        return self._trainer is None or not _scales(self._trainer)

    @property
    def validate_every(self) -> int:
        """Epochs from one validation to the next."""
        return (self._trainer.check_val_every_n_epoch or 1) if self._trainer else 1

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning sets this name dozens of times a step; nn.Module searches its tables each."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def _call_batch_hook(self, hook_name: str, *args: Any) -> Any:
        """Lightning finds out for every batch anew who has the hook, the module or the data."""
        try:
            selector: Any = self.trainer._data_connector._datahook_selector
            if "get_instance" not in vars(selector):
                selector.get_instance = cache(selector.get_instance)
        except (AttributeError, RuntimeError, TypeError):  # another Lightning, or no trainer
            pass
        return super()._call_batch_hook(hook_name, *args)

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """A fitted schedule stays at its end where a smaller batch size has made the run longer."""
        if not finished(scheduler):
            super().lr_scheduler_step(scheduler, metric)

    @property
    def planned_steps(self) -> float:
        """All optimizer steps of the training, infinite where it has no end."""
        return planned_steps(self.trainer)

    def optimizer_zero_grad(
        self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer
    ) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        if optimizer_closure is None or not _is_plain(self.trainer, self, optimizer.optimizer):
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            optimizer_closure()
            take_step(optimizer.optimizer)


def _is_plain(trainer: Any, module: pl.LightningModule, optimizer: torch.optim.Optimizer) -> bool:
    """Whether nothing but the optimizer takes part in its step; decided once a fit."""
    known = module.__dict__.get("_plain_step")
    if known is None or known[0] is not optimizer:
        plain = (
            type(optimizer).__module__.startswith("torch.optim")
            and not isinstance(optimizer, torch.optim.LBFGS)
            and type(trainer.strategy) is SingleDeviceStrategy
            and type(trainer.precision_plugin) in (Precision, MixedPrecision)
            and not _scales(trainer)
            and not trainer.gradient_clip_val
            and isinstance(trainer.profiler, PassThroughProfiler)
            and not any(_watches(hook) for hook in [*trainer.callbacks, module])
        )
        known = module.__dict__["_plain_step"] = (optimizer, plain)
    return known[1]


def _scales(trainer: Any) -> bool:
    return getattr(trainer.precision_plugin, "scaler", None) is not None


def _watches(hooks: Any) -> bool:
    """Whether a callback or the module does something between the gradients and the step."""
    base = pl.Callback if isinstance(hooks, pl.Callback) else pl.LightningModule
    names = ("on_before_optimizer_step", "configure_gradient_clipping")
    return any(hasattr(base, name) and is_overridden(name, hooks, base) for name in names)
