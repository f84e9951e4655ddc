"""ReduceLROnPlateau moves before the epoch's checkpoint is written, so that a resume has it."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

OURS = "epoch, before its checkpoint"  # an interval at which Lightning moves no scheduler


class PlateauBeforeCheckpoint(Callback):
    """Moves every `ReduceLROnPlateau` that counts epochs, in place of Lightning.

    Lightning moves it after the checkpoint of the epoch is written, and not at all in an epoch that
    was resumed.
    """

    def __init__(self) -> None:
        self._plateaus: list[Any] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._plateaus = [
            config
            for config in trainer.lr_scheduler_configs
            if config.reduce_on_plateau and config.interval in ("epoch", OURS)
        ]
        self._set_interval(OURS)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        progress = trainer.fit_loop.epoch_loop.batch_progress
        whole = progress.is_last_batch or progress.current.ready == trainer.num_training_batches
        if self._plateaus and whole:
            self._set_interval("epoch")
            trainer.fit_loop.epoch_loop.update_lr_schedulers("epoch", True)
            self._set_interval(OURS)

    def _set_interval(self, interval: str) -> None:
        for config in self._plateaus:
            config.interval = interval
