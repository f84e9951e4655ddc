"""Which checkpoints a run keeps: the best by the monitored metric and the last."""

from pathlib import Path

from lightning.pytorch.callbacks import ModelCheckpoint

from lit_opt.module import LitModule


def checkpoints(folder: Path, model: LitModule, has_validation: bool) -> list[ModelCheckpoint]:
    """Callbacks that write `best.ckpt` (first in the list) and `last.ckpt` into `folder`."""
    last = ModelCheckpoint(
        folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    if not has_validation:
        return [last]
    monitor = str(model.hparams["monitor"])
    best = ModelCheckpoint(
        folder,
        filename="best",
        monitor=monitor,
        mode="max" if higher_is_better(model, monitor) else "min",
        auto_insert_metric_name=False,
        enable_version_counter=False,
    )
    return [best, last]


def higher_is_better(model: LitModule, monitor: str) -> bool:
    """As the metric says of itself; a name that no metric has counts as a loss."""
    metric = dict(model.val_scores.items()).get(monitor)
    return bool(getattr(metric, "higher_is_better", False))
