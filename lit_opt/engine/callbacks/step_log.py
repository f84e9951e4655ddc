"""Curves within an epoch: the loss of single batches and the learning rate."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.callbacks import Callback


class StepLog(Callback):
    """Logs `train/loss_step` and `lr` every `--log_every_n_steps` optimizer steps.

    Of several optimizers it is the first one's lr; a `training_step` that returns no loss, as in
    manual optimization, has none logged.

    Reading a loss makes the host wait for the device, and `self.log` costs more than a small net's
    arithmetic; so only the steps that are logged are read.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        every, step = trainer.log_every_n_steps, trainer.global_step
        before, self._step = self._step, step
        if trainer.loggers and every and step // every > before // every:
            values = {}
            if isinstance(outputs, Mapping) and "loss" in outputs:
                # Lightning divides the loss for the accumulation of gradients.
                values["train/loss_step"] = outputs["loss"] * trainer.accumulate_grad_batches
            if trainer.optimizers:
                values["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
            for logger in trainer.loggers:
                logger.log_metrics({name: float(value) for name, value in values.items()}, step)
