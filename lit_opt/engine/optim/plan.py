"""How long a training is: what schedulers are fitted to."""

from typing import Any, NamedTuple

import lightning.pytorch as pl
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities.model_helpers import is_overridden


class Plan(NamedTuple):
    """What the optimizer and the schedulers must know of a training.

    `total_steps`: optimizer steps in all, infinite where the training has no end.
    `max_epochs`: epochs in all; -1 where only steps or time end the training.
    `validate_every`: epochs from one validation to the next.
    `may_fuse`: whether a fused optimizer may be used; in mixed precision it refuses clipping, and
        with a GradScaler it is given gradients that are still scaled, as all who look at them are.
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
        not isinstance(trainer.precision_plugin, MixedPrecision) or not uses_gradients(trainer),
    )


def uses_gradients(trainer: Any) -> bool:
    """Whether a clipping, callback or module takes part between the backward pass and the step."""
    owners = [*trainer.callbacks, trainer.lightning_module]
    return bool(trainer.gradient_clip_val) or any(map(_sees_gradients, owners))


def _sees_gradients(owner: Any) -> bool:
    base = pl.Callback if isinstance(owner, pl.Callback) else pl.LightningModule
    names = ("on_before_optimizer_step", "configure_gradient_clipping")
    return any(hasattr(base, name) and is_overridden(name, owner, base) for name in names)


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
