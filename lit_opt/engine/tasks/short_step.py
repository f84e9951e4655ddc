"""Lightning's training step with less around it; the arithmetic is the same bit for bit.

Its short cuts together are worth a tenth of the MLP's step at batch 64, and each steps aside where
it would change what Lightning does.
"""

import inspect
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.lightning_private import QuickHookName, move_logged_values_once, step_alone
from lit_opt.engine.optim.plan import Plan, uses_gradients
from lit_opt.engine.optim.schedulers import is_over
from lit_opt.engine.tasks.metrics import Scores, better_direction
from lit_opt.engine.tasks.net_check import check_targets


def shorten_step(module: pl.LightningModule) -> None:
    """What makes the step of any module shorter, and changes nothing else.

    Lightning asks in every step what `training_step` takes; a stored answer is quicker. On a
    machine without a GPU, Adam's step looks for one each time, and as Lightning sets
    PYTORCH_NVML_BASED_CUDA_CHECK it opens NVIDIA's library for it: 0.2 to 0.4 ms, of which little
    is left if none is visible.
    """
    step: Any = type(module).training_step
    step.__signature__ = inspect.signature(step)
    if not torch.cuda.is_available():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    move_logged_values_once()


class NoProfiler(PassThroughProfiler):
    """Lightning's default profiler, without a generator for each of forty hooks a step."""

    _nothing: AbstractContextManager[None] = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return self._nothing


class ShortStepModule(QuickHookName, pl.LightningModule):
    """A LightningModule whose optimizer steps directly where nothing else takes part in it."""

    val_scores: Scores
    # Of which optimizer, and its step, if nothing else takes part in that.
    _plain_step: tuple[torch.optim.Optimizer | None, Callable[[], Any] | None] = None, None

    def optimizer_zero_grad(
        self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer
    ) -> None:
        """What torch's own does, which enters each call in the record of its profiler."""
        if self._plain_step_of(optimizer) is None:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)
            return
        for group in optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = None

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        step = self._plain_step_of(optimizer.optimizer)
        if optimizer_closure and isinstance(optimizer.optimizer, torch.optim.LBFGS):
            optimizer_closure = self._of_all_processes(optimizer_closure)
        if optimizer_closure is None or step is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            optimizer_closure()
            step()

    def _of_all_processes(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        """The mean of its losses: by it LBFGS decides how often it asks, which must be the same."""
        reduce = self.trainer.strategy.reduce
        return lambda: reduce(closure(), reduce_op="mean")

    def _plain_step_of(self, optimizer: torch.optim.Optimizer) -> Callable[[], Any] | None:
        """Decided at the first step of a fit."""
        if self._plain_step[0] is not optimizer:
            alone = steps_alone(self.trainer, optimizer)
            self._plain_step = optimizer, step_alone(optimizer) if alone else None
        return self._plain_step[1]

    def check(self, data: Any) -> None:
        """Raises `UserError` if net, loss, metrics or scheduler are not for `data`."""
        if not hasattr(data, "targets"):  # data that declares nothing
            return
        check_targets(self, data)
        _, schedulers = self.optimizers_for(Plan(total_steps=1000, max_epochs=10))
        plateau = any(isinstance(s["scheduler"], ReduceLROnPlateau) for s in schedulers)
        if plateau and not data.has_validation:
            raise UserError("ReduceLROnPlateau needs a validation; set --val_fraction above 0")

    def best_by(self) -> tuple[str, str]:
        """The validation metric that selects the best checkpoint, and "min" or "max"."""
        monitor: str = self.hparams["monitor"]
        return monitor, better_direction(self.val_scores, monitor)

    def optimizers_for(self, plan: Plan) -> Any:
        """The optimizers and the schedulers for a training of that length, in Lightning's form."""
        raise NotImplementedError(f"{type(self).__name__} must override optimizers_for()")

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """A fitted schedule stays at its end where a smaller batch size has made the run longer."""
        if not is_over(scheduler):
            super().lr_scheduler_step(scheduler, metric)


def steps_alone(trainer: Any, optimizer: torch.optim.Optimizer) -> bool:
    """Whether nothing but the optimizer takes part in its step.

    Others are: a strategy for several devices, a GradScaler, clipping, a profiler, and a callback
    or module that looks at the gradients. LBFGS and foreign optimizers need the closure.
    """
    return (
        type(optimizer).__module__.startswith("torch.optim")
        and not isinstance(optimizer, torch.optim.LBFGS)
        and type(trainer.strategy) is SingleDeviceStrategy
        and type(trainer.precision_plugin) in (Precision, MixedPrecision)
        and trainer.scaler is None
        and isinstance(trainer.profiler, PassThroughProfiler)
        and not uses_gradients(trainer)
    )
