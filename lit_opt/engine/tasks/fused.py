"""Optimizer steps that Lightning doesn't see one by one: `--steps_per_execution`."""

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_opt.engine.errors import UserError
from lit_opt.engine.loading.loader import Batch, Group, LazyLoader
from lit_opt.engine.tasks.hooks import STEP_HOOKS, step_hooks
from lit_opt.engine.tasks.raw_step import take_step

Hooks = Mapping[str, list[Callable[..., Any]]]
DEFAULTS = {
    "accumulate_grad_batches": 1,
    "limit_train_batches": 1.0,
    "val_check_interval": 1.0,
    "overfit_batches": 0.0,
}


def planned_steps(trainer: pl.Trainer) -> float:
    """All optimizer steps of the training, infinite where it has no end."""
    planned: float = trainer.estimated_stepping_batches
    loader = trainer.train_dataloader
    if not isinstance(loader, LazyLoader) or loader.group == 1:
        return planned
    epochs = trainer.max_epochs or -1
    ends = [loader.steps * epochs] if epochs > 0 else []
    ends += [trainer.max_steps] if trainer.max_steps > 0 else []
    return min(ends, default=planned)


def check_group(trainer: Any, plain: bool) -> None:
    """What needs Lightning between two steps, or counts its batches, can't be had."""
    unlike_default = [
        f"--{name} {getattr(trainer, name)}"
        for name, default in DEFAULTS.items()
        if repr(getattr(trainer, name)) != repr(default)
    ]
    if not plain:
        unlike_default.append(
            "more than one device, fp16-mixed, gradient clipping, LBFGS, a profiler, "
            "a callback that watches the gradients or an optimizer_step of your own"
        )
    if is_overridden("on_train_batch_start", trainer.lightning_module):
        unlike_default.append("the module's on_train_batch_start, which may end the epoch")
    if any(c.interval == "step" and c.frequency > 1 for c in trainer.lr_scheduler_configs):
        unlike_default.append("a scheduler that steps less often than the optimizer")
    if unlike_default:
        raise UserError(f"--steps_per_execution can't go with {unlike_default[0]}; set it to 1")


def run_early_steps(trainer: Any, module: Any, group: Group) -> Batch:
    """Takes the steps of all batches but the last, which is Lightning's; returns that one.

    Lightning's counts of optimizer steps are kept right, schedulers and hooks are called; those of
    checkpoints wait for the end of the group.
    """
    room = trainer.max_steps - trainer.global_step if trainer.max_steps > 0 else len(group)
    *early, last = group[:room]
    hooks = {name: step_hooks(trainer, name) for name in STEP_HOOKS}
    caller = module._current_fx_name
    for batch in map(group.loader.begin_step, early):
        _step(trainer, module, trainer.strategy.batch_to_device(batch, dataloader_idx=0), hooks)
    module._current_fx_name = caller
    return group.loader.begin_step(last)


def _step(trainer: Any, module: Any, batch: Batch, hooks: Hooks) -> None:
    loop = trainer.fit_loop.epoch_loop
    optimizer = trainer.optimizers[0]
    batch_idx = loop.batch_idx + 1
    trainer._logger_connector.on_batch_start(batch)  # self.log weighs by its size

    def call(name: str, *args: Any) -> None:
        for hook in hooks[name]:
            module._current_fx_name = name  # self.log asks for it
            hook(*args)

    call("on_train_batch_start", batch, batch_idx)
    module._current_fx_name = "training_step"
    with trainer.precision_plugin.train_step_context():
        output = module.training_step(batch, batch_idx)
    loss = output["loss"] if isinstance(output, Mapping) else output
    call("on_before_zero_grad", optimizer)
    module.optimizer_zero_grad(trainer.current_epoch, batch_idx, optimizer)
    call("on_before_backward", loss)
    module.backward(loss)
    call("on_after_backward")
    take_step(optimizer)
    loop.automatic_optimization.optim_progress.optimizer.step.increment_ready()
    loop.automatic_optimization.optim_progress.optimizer.step.increment_completed()
    loop._batches_that_stepped += 1  # the loggers' step
    loop.update_lr_schedulers("step", update_plateau_schedulers=False)
    call("on_train_batch_end", {"loss": loss.detach()}, batch, batch_idx)
