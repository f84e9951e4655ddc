"""What Lightning leaves out of a checkpoint that is written inside an epoch, or at its end."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer
from torchmetrics import Metric

from lit_opt.engine.lightning_private import reopen_epoch, set_update_count
from lit_opt.engine.runs.scores import CSVCurves

OURS = "epoch, before its checkpoint"  # an interval at which Lightning moves no scheduler


class RunningScores(Callback):
    """Carries the training scores of a begun epoch, its curves and an early stop over a resume.

    The scores of an epoch are logged after its checkpoint is written, so the checkpoint holds that
    row of the curves as well. A run that has stopped early trains on only if its length changes.

    Lightning counts an epoch that `--max_steps` or `--max_time` has cut as over. If the run becomes
    longer, the epoch goes on where it was cut.
    """

    state_key = "Continue"
    _loaded: Mapping[str, Any] = {}
    _loops: Mapping[str, Any] = {}
    _cut: list[dict[str, Any]] | None = None  # the counts of a cut epoch, which the module resets

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        before = None  # the row as it is without them
        for logger in trainer.loggers:
            if isinstance(logger, CSVCurves):
                logger.finalize("saved")
                before = logger.rows.get(trainer.global_step - 1)
        row: dict[str, Any] = {}
        ends = epoch_ends(trainer)
        if ends:  # the epoch's scores are about to be logged
            row = {"step": trainer.global_step - 1, "epoch": trainer.current_epoch}
            row |= {k: float(v) for k, v in trainer.callback_metrics.items() if "train/" in k}
        checkpoint["callbacks"][self.state_key] = {
            "counts": self._cut if ends and self._cut else _counts_of_all(trainer, pl_module),
            "row": row,
            "before": before and dict(before),
            "cut": ends and is_cut(trainer),
            "ended_early_at": _length_of(trainer) if _ended_early(trainer) else None,
        }

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._cut = _counts_of_all(trainer, pl_module) if is_cut(trainer) else None

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._loaded = checkpoint["callbacks"].get(self.state_key, {})
        self._loops = checkpoint["loops"]["fit_loop"]
        self._step = checkpoint["global_step"]

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """The timer's state is there by now, and Lightning's loops are restored next."""
        row, loops = dict(self._loaded.get("row", {})), dict(self._loops)
        self._loops = {}
        if self._loaded.get("cut") and self._goes_on(trainer) and reopen_epoch(loops):
            for logger in trainer.loggers:
                if isinstance(logger, CSVCurves):
                    logger.replace(row["step"], self._loaded["before"])
            return
        for logger in trainer.loggers if row else []:
            logger.log_metrics({k: v for k, v in row.items() if k != "step"}, step=row["step"])

    def _goes_on(self, trainer: Any) -> bool:
        over = _time_is_over(trainer) or self._loaded.get("ended_early_at") == _length_of(trainer)
        return not over and (trainer.max_steps == -1 or self._step < trainer.max_steps)

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
        if not is_cut(trainer):
            _change_interval(trainer, OURS, "epoch")
            trainer.fit_loop.epoch_loop.update_lr_schedulers("epoch", True)
            _change_interval(trainer, "epoch", OURS)


def _change_interval(trainer: pl.Trainer, before: str, after: str) -> None:
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and config.interval == before:
            config.interval = after


def epoch_ends(trainer: Any) -> bool:
    """Whether the hooks of an epoch's end are running, in which its checkpoint is written."""
    progress = trainer.fit_loop.epoch_progress.current
    return bool(progress.processed > progress.completed)


def is_cut(trainer: Any) -> bool:
    """Whether the run's end leaves batches of this epoch, such as at `--max_steps`."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    left = not progress.is_last_batch and progress.current.ready < trainer.num_training_batches
    return left and (trainer.should_stop or trainer.global_step == trainer.max_steps)


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
