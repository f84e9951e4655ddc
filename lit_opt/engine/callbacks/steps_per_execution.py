"""`--steps_per_execution K`: Lightning sees one step where the optimizer takes K."""

from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lit_opt.engine.callbacks.ema import EMA
from lit_opt.engine.errors import UserError
from lit_opt.engine.lightning_private import count_steps_for_loggers
from lit_opt.engine.loading.loader import Group

# What counts Lightning's batches, which are groups.
COUNTERS = {
    "accumulate_grad_batches": 1,
    "limit_train_batches": 1.0,
    "val_check_interval": 1.0,
    "overfit_batches": 0.0,
}
# What must act between two steps.
FINDERS = (callbacks.LearningRateFinder, callbacks.BatchSizeFinder)
EVERY_STEP = (EMA, callbacks.WeightAveraging, *FINDERS)


class StepsPerExecution(pl.Callback):
    """Trains on all batches of a `Group` in one call of `training_step`, by manual optimization.

    Weights, learning rates, `trainer.global_step` and the loggers' step are those of single steps,
    bit for bit. The hooks around gradients are called for every step, `on_train_batch_start` and
    `on_train_batch_end` for every group, with the output of its last batch. A checkpoint waits for
    the end of the group. `self.log` of a mean needs `batch_size=`.

    It must be the first of the callbacks, with 1 as well: Lightning counts the steps of automatic
    and manual optimization apart, and a run that continues another one needs both counts.

    Args:
        steps: Optimizer steps in one call, as many as `LazyLoader.group`; 1 changes nothing.
    """

    state_key = "StepsPerExecution"

    def __init__(self, steps: int) -> None:
        self.steps = self._steps_before = steps

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._steps_before = state_dict["steps"]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._steps_before = self.steps
        if stage == "fit" and self.steps > 1:
            _refuse(_unfit_settings(trainer, pl_module))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.steps > 1:
            _refuse(_unfit_optimizers(trainer))
            pl_module.automatic_optimization = False
            pl_module.training_step = _on_groups(trainer, pl_module)  # type: ignore[method-assign]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _join_counts(trainer)
        inside = trainer.fit_loop.epoch_loop.restarted_on_train_batch_end
        if inside and self._steps_before != self.steps:
            raise UserError(
                "the checkpoint was written inside an epoch, with --steps_per_execution "
                f"{self._steps_before}; now it is {self.steps}.\n"
                f"Continue with {self._steps_before}; only between epochs can it change"
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if vars(pl_module).pop("training_step", None):
            pl_module.automatic_optimization = True
            _join_counts(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.teardown(trainer, pl_module, "fit")


def _join_counts(trainer: pl.Trainer) -> None:
    """`trainer.global_step` is the same for automatic and for manual optimization."""
    loop = trainer.fit_loop.epoch_loop
    manual = loop.manual_optimization.optim_step_progress.total
    automatic = loop.automatic_optimization.optim_progress.optimizer.step.total
    manual.completed = automatic.completed = max(manual.completed, automatic.completed)
    manual.ready = automatic.ready = max(manual.ready, automatic.ready)


def _on_groups(trainer: Any, module: pl.LightningModule) -> Callable[[Group, int], Any]:
    """A `training_step` that gives each batch of a group to the module's own."""
    own_step: Any = module.training_step
    takes_index = is_param_in_hook_signature(own_step, "batch_idx", min_args=2)

    def training_step(group: Group, batch_idx: int) -> Any:
        before, output = trainer.global_step, None
        # Lightning's autocast is around the whole; only the module's step is to run in one.
        with torch.autocast(trainer.strategy.root_device.type, enabled=False):
            for number, batch in group.numbered():
                batch = trainer.precision_plugin.convert_input(batch)
                batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
                with trainer.precision_plugin.train_step_context():
                    output = own_step(batch, number) if takes_index else own_step(batch)
                _take_step(trainer, module, number, output)
                if trainer.global_step == trainer.max_steps:
                    break
        if trainer.is_last_batch and number + 1 == group.loader.steps:
            _move_schedulers(trainer, "epoch", trainer.current_epoch + 1)
        count_steps_for_loggers(trainer, trainer.global_step - before - 1)
        return output

    return training_step


def _take_step(trainer: Any, module: pl.LightningModule, number: int, output: Any) -> None:
    """What automatic optimization does after `training_step`, in its order."""
    optimizer: Any = module.optimizers()
    module.optimizer_zero_grad(trainer.current_epoch, number, optimizer.optimizer)
    module.manual_backward(output if isinstance(output, torch.Tensor) else output["loss"])
    optimizer.step()
    torch.clear_autocast_cache()  # it holds copies of the weights as they were
    _move_schedulers(trainer, "step", number + 1)


def _move_schedulers(trainer: Any, interval: str, count: int) -> None:
    for config in trainer.lr_scheduler_configs:
        if config.interval == interval and count % config.frequency == 0:
            trainer.lightning_module.lr_scheduler_step(config.scheduler, None)


# ---- what needs Lightning between two steps, or counts its batches ----


def _refuse(unfit: Iterator[str]) -> None:
    for what in unfit:
        raise UserError(f"--steps_per_execution can't go with {what}; set it to 1")


def _unfit_settings(trainer: Any, module: pl.LightningModule) -> Iterator[str]:
    for name, default in COUNTERS.items():
        if repr(getattr(trainer, name)) != repr(default):
            yield f"--{name} {getattr(trainer, name)}"
    if trainer.gradient_clip_val or is_overridden("configure_gradient_clipping", module):
        yield "gradient clipping"
    if not isinstance(trainer.strategy, SingleDeviceStrategy):
        yield "more than one device"
    if getattr(trainer.precision_plugin, "scaler", None):
        yield "--precision 16-mixed"
    for callback in trainer.callbacks:
        if isinstance(callback, EVERY_STEP) or is_overridden(
            "on_before_zero_grad", callback, pl.Callback
        ):
            yield f"the callback {type(callback).__name__}"
    # Lightning's own, and the engine's, do no more than what `_take_step` does.
    home = type(module).optimizer_step.__module__
    if not home.startswith(("lightning.", "lit_opt.engine.")) or not module.automatic_optimization:
        yield "an optimizer_step of your own"
    for hook in ("on_train_batch_start", "on_before_zero_grad", "on_before_batch_transfer"):
        if is_overridden(hook, module):
            yield f"the module's {hook}"


def _unfit_optimizers(trainer: Any) -> Iterator[str]:
    if len(trainer.optimizers) != 1 or isinstance(trainer.optimizers[0], torch.optim.LBFGS):
        yield "LBFGS or several optimizers"
    if any(isinstance(c.scheduler, ReduceLROnPlateau) for c in trainer.lr_scheduler_configs):
        yield "ReduceLROnPlateau"
