"""What Lightning leaves out of a checkpoint that is written inside an epoch, or at its end."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import Callback

OURS = "epoch, before its checkpoint"  # an interval at which Lightning moves no scheduler


class Continue(Callback):
    """Carries the running training scores and the curves over a resume.

    The scores of an epoch are logged after its checkpoint is written, so they are in the checkpoint
    as well. `ReduceLROnPlateau` moves before it is written, not after, and in a resumed epoch too.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}
        self._plateaus: list[Any] = []

    def on_save_checkpoint(
        self, trainer: Any, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for logger in trainer.loggers:
            if hasattr(logger, "flush"):
                logger.flush()
        state: dict[str, Any] = {"counts": _counts_of_all(trainer, pl_module), "row": {}}
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

    def on_train_epoch_end(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        loop = trainer.fit_loop.epoch_loop
        if self._plateaus and loop._num_ready_batches_reached():
            _set_interval(self._plateaus, "epoch")
            loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
            _set_interval(self._plateaus, OURS)

    def on_train_start(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        self._plateaus = [
            config
            for config in trainer.lr_scheduler_configs
            if config.reduce_on_plateau and config.interval in ("epoch", OURS)
        ]
        _set_interval(self._plateaus, OURS)
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
        if len(state["counts"]) == trainer.world_size:
            _restore(pl_module, state["counts"][trainer.global_rank])


def _metrics(module: Any) -> dict[str, Any]:
    scores = getattr(module, "train_scores", None)
    return dict(scores.items(keep_base=True, copy_state=False)) if scores is not None else {}


def _counts(module: pl.LightningModule) -> dict[str, Any]:
    return {
        name: {"updates": metric.update_count, **metric.metric_state}
        for name, metric in _metrics(module).items()
    }


def _counts_of_all(trainer: Any, module: pl.LightningModule) -> list[dict[str, Any]]:
    """One for each process, in the order of their ranks; all have to call it."""
    mine = _counts(module)
    counts = [mine] * trainer.world_size
    if trainer.world_size == 1:
        return counts
    torch.distributed.all_gather_object(counts, move_data_to_device(mine, "cpu"))
    return counts


def _restore(module: pl.LightningModule, counts: dict[str, Any]) -> None:
    for name, metric in _metrics(module).items():
        for key, value in move_data_to_device(counts.get(name, {}), metric.device).items():
            setattr(metric, "_update_count" if key == "updates" else key, value)


def _set_interval(configs: list[Any], interval: str) -> None:
    for config in configs:
        config.interval = interval
