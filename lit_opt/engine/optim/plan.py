"""How long a training is: what schedulers are fitted to."""

from typing import Any, NamedTuple

import lightning.pytorch as pl
from lightning.pytorch.plugins.precision import MixedPrecision


class Plan(NamedTuple):
    """What the optimizer and the schedulers must know of a training.

    `total_steps`: optimizer steps in all, infinite where the training has no end.
    `max_epochs`: epochs in all; -1 where only steps or time end the training.
    `validate_every`: epochs from one validation to the next.
    `may_fuse`: whether a fused optimizer may be used; in mixed precision it refuses clipping.
    """

    total_steps: float
    max_epochs: int
    validate_every: int = 1
    may_fuse: bool = True


def plan_of(trainer: pl.Trainer) -> Plan:
    """The plan of the fit that `trainer` has begun."""
    return Plan(
        _optimizer_steps(trainer),
        trainer.max_epochs or -1,
        trainer.check_val_every_n_epoch or 1,
        trainer.scaler is None and not _clips_mixed(trainer),
    )


def _clips_mixed(trainer: Any) -> bool:
    mixed = isinstance(trainer.precision_plugin, MixedPrecision)
    return mixed and bool(trainer.gradient_clip_val)


def _optimizer_steps(trainer: Any) -> float:
    """Lightning counts a group of `--steps_per_execution` as one; here each step counts."""
    planned: float = trainer.estimated_stepping_batches
    loader = trainer.train_dataloader
    if getattr(loader, "group", 1) == 1:
        return planned
    epochs = trainer.max_epochs or -1
    ends = [loader.steps * epochs] if epochs > 0 else []
    ends += [trainer.max_steps] if trainer.max_steps > 0 else []
    return min(ends, default=planned)
