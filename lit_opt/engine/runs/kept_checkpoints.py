"""Which checkpoints a run keeps: the best by the monitored metric and the last."""

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_opt.engine.errors import UserError
from lit_opt.engine.runs.atomic_file import atomic_write
from lit_opt.engine.runs.checkpoint_file import fault, warn


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`; a monitored name that is never logged is found before the first step."""

    state_key = "BestCheckpoint"  # the same whatever is monitored, and not put together every time

    def on_train_batch_end(self, *args: Any) -> None:
        """It saves after validations only."""

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.monitor,
            "best_model_path": self.best_model_path,
            "best_model_score": self.best_model_score,
        }

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
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
                with best.open("rb") as old, atomic_write(path) as new:
                    shutil.copyfileobj(old, new, 2**20)
            self.best_model_path = self.kth_best_model_path = str(path)
            self.best_model_score = self.kth_value = state["best_model_score"]
            self.best_k_models = {str(path): state["best_model_score"]}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking and self.monitor not in trainer.callback_metrics:
            names = ", ".join(sorted(trainer.callback_metrics))
            raise UserError(f"--monitor {self.monitor} is not measured in validation; set {names}")
        super().on_validation_end(trainer, pl_module)


class LastCheckpoint(ModelCheckpoint):
    """`last.ckpt`; a class of its own, so that its state is told from another's of the user."""

    state_key = "LastCheckpoint"

    def on_train_batch_end(self, *args: Any) -> None:
        """It saves after epochs only."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Its path is always the same; Lightning would warn where the folder is another one."""


def checkpoints(folder: Path, monitor: str | None, mode: str = "min") -> list[ModelCheckpoint]:
    """Callbacks that write `best.ckpt` (first in the list) and `last.ckpt` into `folder`.

    Args:
        folder: The run's `checkpoints` folder.
        monitor: The validation metric that selects the best; None where nothing is validated.
        mode: "max" where more of it is better, else "min".
    """
    options: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False}
    last = LastCheckpoint(filename="last", save_on_train_epoch_end=True, **options)
    if monitor is None:
        return [last]
    options |= {"monitor": monitor, "mode": mode, "auto_insert_metric_name": False}
    options["save_on_train_epoch_end"] = False  # after a validation, whenever there is one
    return [BestCheckpoint(filename="best", **options), last]
