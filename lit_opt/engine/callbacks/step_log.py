"""Curves within an epoch: the loss of single batches and the learning rate."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback


class StepLog(Callback):
    """Logs `train/loss_step` and `lr` every `--log_every_n_steps` optimizer steps.

    Reading a loss makes the host wait for the device, and `self.log` costs more than a small net's
    arithmetic; so only the steps that are logged are read.
    """

    _step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        every, step = trainer.log_every_n_steps, trainer.global_step
        before, self._step = self._step, step
        if not every or step // every == before // every or not trainer.loggers:
            return
        values = {
            # Lightning divides the loss for the accumulation of gradients.
            "train/loss_step": float(outputs["loss"]) * trainer.accumulate_grad_batches,
            "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step)
