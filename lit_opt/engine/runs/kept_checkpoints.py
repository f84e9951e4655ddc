"""Which checkpoints a run keeps: the best by the monitored metric and the last."""

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_opt.engine.errors import UserError
from lit_opt.engine.runs.atomic_file import write_aside
from lit_opt.engine.runs.checkpoint_file import fault, warn
from lit_opt.engine.tasks.metrics import better_direction
from lit_opt.module import LitModule


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`; a monitored name that is never logged is found before the first step."""

    state_key = "BestCheckpoint"  # Lightning puts its together anew in every hook
    on_train_batch_end = None  # type: ignore[assignment]  # it saves after validations only

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The best so far goes with a run that is continued, moved or not, in a folder of its own.

        If it is damaged, gone or the best by another metric, the best is counted anew.
        """
        state = checkpoint["callbacks"].pop(self.state_key, {})
        if not state.get("best_model_path") or not trainer.ckpt_path:
            return
        best = Path(state["best_model_path"])
        beside = Path(trainer.ckpt_path).with_name(best.name)
        best = beside if beside.is_file() else best
        wrong = fault(best)
        if wrong:
            warn(f"'{best}' is not kept as the best checkpoint: {wrong}")
        elif state["monitor"] == self.monitor:
            path = Path(str(self.dirpath), best.name)
            if trainer.is_global_zero and path.resolve() != best.resolve():
                with best.open("rb") as old, write_aside(path) as new:
                    shutil.copyfileobj(old, new, 2**20)
            checkpoint["callbacks"][self.state_key] = state | {
                "dirpath": self.dirpath,
                "best_model_path": str(path),
                "best_k_models": {str(path): state["best_model_score"]},
                "kth_best_model_path": str(path),
            }

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking and self.monitor not in trainer.callback_metrics:
            names = ", ".join(sorted(trainer.callback_metrics))
            raise UserError(f"--monitor {self.monitor} is not measured in validation; set {names}")
        super().on_validation_end(trainer, pl_module)


class LastCheckpoint(ModelCheckpoint):
    """`last.ckpt`; a class of its own, so that its state is told from another's of the user."""

    state_key = "LastCheckpoint"
    on_train_batch_end = None  # type: ignore[assignment]  # it saves after epochs only


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
        mode=better_direction(model.val_scores, monitor),
        auto_insert_metric_name=False,
        enable_version_counter=False,
    )
    return [best, last]
