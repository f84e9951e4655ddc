"""Which checkpoints a run keeps: the best by the monitored metric and the last."""

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_opt.errors import UserError
from lit_opt.metrics import better
from lit_opt.module import LitModule


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`; a monitored name that is never logged is found before the first step."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A continued run has a folder of its own; the best so far is copied into it."""
        best = Path(state_dict.get("best_model_path") or "none")
        if self.dirpath != state_dict["dirpath"] and best.is_file():
            path = Path(str(self.dirpath)) / best.name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(best, path)
            scores = {str(path): state_dict["best_model_score"]}
            moved = {"dirpath": self.dirpath, "best_model_path": str(path), "best_k_models": scores}
            state_dict = {**state_dict, **moved, "kth_best_model_path": str(path)}
        super().load_state_dict(state_dict)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking and self.monitor not in trainer.callback_metrics:
            names = ", ".join(sorted(trainer.callback_metrics))
            raise UserError(f"--monitor {self.monitor} is not measured in validation; set {names}")
        super().on_validation_end(trainer, pl_module)


class LastCheckpoint(ModelCheckpoint):
    """`last.ckpt`; a class of its own, so that its state is told from another's of the user."""


def checkpoints(folder: Path, model: LitModule, has_validation: bool) -> list[ModelCheckpoint]:
    """Callbacks that write `best.ckpt` (first in the list) and `last.ckpt` into `folder`."""
    last = LastCheckpoint(
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
