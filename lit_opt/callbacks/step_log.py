"""Curves within an epoch: the loss of single batches and the learning rate."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback


class StepLog(Callback):
    """Logs `train/loss_step` and `lr` every `--log_every_n_steps` optimizer steps.

    Reading a loss makes the host wait for the device, and `self.log` costs more than a small net's
    arithmetic; so only the steps that are logged are read.
    """

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (batch_idx + 1) % every == 0 and trainer.loggers:
            values = {
                "train/loss_step": float(outputs["loss"]),
                "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
            }
            for logger in trainer.loggers:
                logger.log_metrics(values, trainer.global_step)
