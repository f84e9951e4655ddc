"""`--steps_per_execution K`: Lightning sees one step where the optimizer takes K."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, WeightAveraging
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.callbacks.ema import EMA
from lit_opt.engine.lightning_private import count_steps_for_loggers

# Settings that count Lightning's batches, which are groups, and callbacks that act between steps.
COUNTERS = {
    "accumulate_grad_batches": 1,
    "limit_train_batches": 1.0,
    "val_check_interval": 1.0,
    "overfit_batches": 0.0,
}
BETWEEN_STEPS = (EMA, WeightAveraging, LearningRateFinder, BatchSizeFinder)


class StepsPerExecution(pl.Callback):
    """Trains on all batches of a group in one call of `training_step`, by manual optimization.

    Weights, learning rates, `trainer.global_step` and the loggers' step are those of single steps,
    bit for bit. The hooks around gradients are called for every step, `on_train_batch_start` and
    `on_train_batch_end` for every group, with the output of its last batch. A checkpoint waits for
    the end of the group. `self.log` of a mean needs `batch_size=`. The training loader gives the
    groups: `LazyLoader.group` is above 1. To be put first among the callbacks.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for what in _unfit_for_groups(trainer, pl_module) if stage == "fit" else ():
            raise UserError(f"--steps_per_execution can't go with {what}; set it to 1")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.setup(trainer, pl_module, "fit")  # the optimizers are there only now
        pl_module.automatic_optimization = False
        step = pl_module.training_step
        takes_index = is_param_in_hook_signature(step, "batch_idx", min_args=2)
        train = partial(_train_on_group, trainer, pl_module, step, takes_index)
        pl_module.training_step = train  # type: ignore[method-assign]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _join_counts(trainer)  # a checkpoint of lit-opt 0.1 has counted them as automatic

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if vars(pl_module).pop("training_step", None):
            pl_module.automatic_optimization = True
            _join_counts(trainer)

    on_exception = teardown  # type: ignore[assignment]


def _train_on_group(
    trainer: Any, module: pl.LightningModule, step: Any, takes_index: bool, group: Any
) -> Any:
    """Does for each batch what Lightning does in automatic optimization, in its order."""
    optimizer: Any = module.optimizers()
    before, output = trainer.global_step, None
    # Lightning's autocast is around the whole; only the module's step is to run in one.
    with torch.autocast(trainer.strategy.root_device.type, enabled=False):
        for batch_idx, batch in group.numbered():
            batch = trainer.precision_plugin.convert_input(batch)
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
            with trainer.precision_plugin.train_step_context():
                output = step(batch, batch_idx) if takes_index else step(batch)
            module.optimizer_zero_grad(trainer.current_epoch, batch_idx, optimizer.optimizer)
            module.manual_backward(output if isinstance(output, torch.Tensor) else output["loss"])
            optimizer.step()
            torch.clear_autocast_cache()  # it holds copies of the weights as they were
            ends = {"step": batch_idx + 1}
            if batch_idx + 1 == group.loader.steps:
                ends["epoch"] = trainer.current_epoch + 1
            for config in trainer.lr_scheduler_configs:
                if config.interval in ends and ends[config.interval] % config.frequency == 0:
                    module.lr_scheduler_step(config.scheduler, None)
            if trainer.global_step == trainer.max_steps:
                break
    count_steps_for_loggers(trainer, trainer.global_step - before - 1)
    return output


def _join_counts(trainer: pl.Trainer) -> None:
    """Lightning counts the steps of automatic and of manual optimization apart."""
    loop = trainer.fit_loop.epoch_loop
    manual = loop.manual_optimization.optim_step_progress.total
    automatic = loop.automatic_optimization.optim_progress.optimizer.step.total
    manual.completed = automatic.completed = max(manual.completed, automatic.completed)
    manual.ready = automatic.ready = max(manual.ready, automatic.ready)


def _unfit_for_groups(trainer: Any, module: pl.LightningModule) -> Iterator[str]:
    """What needs Lightning between two steps, or counts its batches."""
    for name, default in COUNTERS.items():
        if repr(getattr(trainer, name)) != repr(default):
            yield f"--{name} {getattr(trainer, name)}"
    if trainer.gradient_clip_val or is_overridden("configure_gradient_clipping", module):
        yield "gradient clipping"
    if not isinstance(trainer.strategy, SingleDeviceStrategy):
        yield "more than one device"
    if getattr(trainer.precision_plugin, "scaler", None):
        yield "--precision 16-mixed"
    for part in [*trainer.optimizers, *(c.scheduler for c in trainer.lr_scheduler_configs)]:
        if isinstance(part, torch.optim.LBFGS | ReduceLROnPlateau):
            yield type(part).__name__
    for one in trainer.callbacks:
        if isinstance(one, BETWEEN_STEPS) or is_overridden("on_before_zero_grad", one, pl.Callback):
            yield f"the callback {type(one).__name__}"
    # Lightning's and the engine's own do no more than `_train_on_group`.
    home = type(module).optimizer_step.__module__
    known = home.startswith(("lightning.", "lit_opt.engine."))
    if not known or not module.automatic_optimization:
        yield "an optimizer_step of your own"
    for hook in ("on_train_batch_start", "on_before_zero_grad", "on_before_batch_transfer"):
        if is_overridden(hook, module):
            yield f"the module's {hook}"
