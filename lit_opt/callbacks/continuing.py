"""What Lightning leaves out of a checkpoint that is written inside an epoch, or at its end."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback


class Continue(Callback):
    """Carries the running training scores and the curves over a resume.

    The scores of an epoch are logged after its checkpoint is written, so they are in the checkpoint
    as well. With more than one process, the training scores of an epoch that is resumed in the
    middle count from there on.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}
        self._row: dict[str, Any] = {}
        self._counts: dict[str, Any] = {}

    def on_save_checkpoint(
        self, trainer: Any, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for logger in trainer.loggers:
            if hasattr(logger, "flush"):
                logger.flush()
        state = {"counts": _counts(pl_module) if trainer.world_size == 1 else {}, "row": {}}
        progress = trainer.fit_loop.epoch_progress.current
        if progress.processed > progress.completed:  # the epoch's scores are about to be logged
            state["row"] = {
                "step": trainer.fit_loop.epoch_loop._batches_that_stepped - 1,
                "epoch": trainer.current_epoch,
                **{k: float(v) for k, v in trainer.callback_metrics.items() if "train/" in k},
            }
        checkpoint["callbacks"][self.state_key] = state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict

    def on_train_start(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        state, self._loaded = self._loaded, {}
        if not state:
            return
        progress = trainer.fit_loop.epoch_progress.current
        progress.completed = progress.processed  # Lightning doesn't with --max_steps (PL#19617)
        for logger in trainer.loggers:
            if hasattr(logger, "go_on"):
                logger.go_on(trainer.global_step)
            if state["row"]:
                row = dict(state["row"])
                logger.log_metrics(row, step=row.pop("step"))
        if trainer.world_size == 1:
            _restore(pl_module, state["counts"])


def _metrics(module: Any) -> dict[str, Any]:
    scores = getattr(module, "train_scores", None)
    return dict(scores.items(keep_base=True, copy_state=False)) if scores is not None else {}


def _counts(module: pl.LightningModule) -> dict[str, Any]:
    return {
        name: {"updates": metric.update_count, **metric.metric_state}
        for name, metric in _metrics(module).items()
    }


def _restore(module: pl.LightningModule, counts: dict[str, Any]) -> None:
    for name, metric in _metrics(module).items():
        for key, value in counts.get(name, {}).items():
            if key == "updates":
                metric._update_count = value
            elif isinstance(value, list):
                setattr(metric, key, [part.to(metric.device) for part in value])
            else:
                setattr(metric, key, value.to(metric.device))
