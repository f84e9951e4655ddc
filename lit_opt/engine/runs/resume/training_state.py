"""What Lightning leaves out of a checkpoint that is written inside an epoch, or at its end."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer
from torchmetrics import Metric

from lit_opt.engine.lightning_private import set_update_count
from lit_opt.engine.runs.scores import CSVCurves

OURS = "epoch, before its checkpoint"  # an interval at which Lightning moves no scheduler


class RunningScores(Callback):
    """Carries the training scores of a begun epoch, its curves and an early stop over a resume.

    The scores of an epoch are logged after its checkpoint is written, so the checkpoint holds that
    row of the curves as well. A run that has stopped early trains on only if its length changes.
    """

    state_key = "Continue"
    _loaded: Mapping[str, Any] = {}

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, CSVCurves):
                logger.finalize("saved")
        row: dict[str, Any] = {}
        progress = trainer.fit_loop.epoch_progress.current
        if progress.processed > progress.completed:  # the epoch's scores are about to be logged
            row = {"step": trainer.global_step - 1, "epoch": trainer.current_epoch}
            row |= {k: float(v) for k, v in trainer.callback_metrics.items() if "train/" in k}
        checkpoint["callbacks"][self.state_key] = {
            "counts": _counts_of_all(trainer, pl_module),
            "row": row,
            "ended_early_at": _length_of(trainer) if _ended_early(trainer) else None,
        }

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._loaded = checkpoint["callbacks"].get(self.state_key, {})
        row = dict(self._loaded.get("row", {}))
        for logger in trainer.loggers if row else []:
            logger.log_metrics({k: v for k, v in row.items() if k != "step"}, step=row["step"])

    def on_train_start(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        state, self._loaded = self._loaded, {}
        if not state:
            for metric in _train_metrics(pl_module).values():
                metric.reset()  # a finder has counted
            return
        trainer.should_stop |= state.get("ended_early_at") == _length_of(trainer)
        if len(state["counts"]) == trainer.world_size:
            metrics = _train_metrics(pl_module)
            for name, counts in state["counts"][trainer.global_rank].items():
                if name in metrics:
                    _restore(metrics[name], **counts)


class PlateauBeforeCheckpoint(Callback):
    """Moves every `ReduceLROnPlateau` that counts epochs, in place of Lightning.

    Lightning moves it after the checkpoint of the epoch is written, and not at all in an epoch that
    was resumed.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _change_interval(trainer, "epoch", OURS)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        progress = trainer.fit_loop.epoch_loop.batch_progress
        if progress.is_last_batch or progress.current.ready == trainer.num_training_batches:
            _change_interval(trainer, OURS, "epoch")
            trainer.fit_loop.epoch_loop.update_lr_schedulers("epoch", True)
            _change_interval(trainer, "epoch", OURS)


def _change_interval(trainer: pl.Trainer, before: str, after: str) -> None:
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and config.interval == before:
            config.interval = after


def _ended_early(trainer: Any) -> bool:
    """Whether a callback has ended the run; a Timer that is over ends it again by itself."""
    return trainer.should_stop and not _time_is_over(trainer)


def _time_is_over(trainer: Any) -> bool:
    left = [c.time_remaining() for c in trainer.callbacks if isinstance(c, Timer)]
    return any(seconds is not None and seconds <= 0 for seconds in left)


def early_end(trainer: Any) -> str | None:
    """Why a fit ended before its length, in a line; None if it did not."""
    epochs, steps = trainer.current_epoch, trainer.global_step
    if not trainer.should_stop or epochs == trainer.max_epochs or steps == trainer.max_steps:
        return None
    why = "its time is over" if _time_is_over(trainer) else "a callback or the module asked for it"
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            why = callback.stopping_reason_message.removesuffix(" Signaling Trainer to stop.")
            if callback.wait_count >= callback.patience:
                why = f"{callback.monitor} did not improve in {callback.wait_count} validations"
    return f"stopped early at epoch {epochs}: {why.rstrip('.')}"


def _length_of(trainer: pl.Trainer) -> list[int | None]:
    return [trainer.max_epochs, trainer.min_epochs, trainer.max_steps, trainer.min_steps]


def _train_metrics(module: Any) -> dict[str, Metric]:
    """By name, those that a wrapper holds as well."""
    scores = getattr(module, "train_scores", None)
    named = scores.named_modules() if scores is not None else ()
    return {name: metric for name, metric in named if name and isinstance(metric, Metric)}


def _counts_of_all(trainer: Any, module: pl.LightningModule) -> list[dict[str, Any]]:
    """The state of every training metric, a dict a process in the order of their ranks."""
    mine = {
        name: {"updates": metric.update_count, **metric.metric_state}
        for name, metric in _train_metrics(module).items()
    }
    counts = [mine] * trainer.world_size
    if trainer.world_size > 1:  # all of them come here
        torch.distributed.all_gather_object(counts, move_data_to_device(mine, "cpu"))
    return counts


def _restore(metric: Metric, updates: int, **counts: Any) -> None:
    set_update_count(metric, updates)
    for key, value in counts.items():
        setattr(metric, key, move_data_to_device(value, metric.device))
