"""Which checkpoints a run keeps: the best by the monitored metric and the last."""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_opt.errors import UserError
from lit_opt.metrics import better
from lit_opt.module import LitModule


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`; a monitored name that is never logged is found before the first step."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking and self.monitor not in trainer.callback_metrics:
            names = ", ".join(sorted(trainer.callback_metrics))
            raise UserError(f"--monitor {self.monitor} is not measured in validation; set {names}")
        super().on_validation_end(trainer, pl_module)


def checkpoints(folder: Path, model: LitModule, has_validation: bool) -> list[ModelCheckpoint]:
    """Callbacks that write `best.ckpt` (first in the list) and `last.ckpt` into `folder`."""
    last = ModelCheckpoint(
        folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    if not has_validation:
        return [last]
    monitor = str(model.hparams["monitor"])
    best = BestCheckpoint(
        folder,
        filename="best",
        monitor=monitor,
        mode=better(model.val_scores, monitor),
        auto_insert_metric_name=False,
        enable_version_counter=False,
    )
    return [best, last]
