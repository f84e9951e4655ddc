"""The length of a training in optimizer steps, which schedules are fitted to."""

from typing import Any


def planned_steps(trainer: Any) -> float:
    """All optimizer steps of the training, infinite where it has no end.

    Lightning counts what the loader gives; one of `--steps_per_execution` K > 1 gives groups and
    says by `group` that it does, and by `steps` how many optimizer steps an epoch has.
    """
    planned: float = trainer.estimated_stepping_batches
    loader = trainer.train_dataloader
    if getattr(loader, "group", 1) == 1:
        return planned
    ends = [loader.steps * trainer.max_epochs] if trainer.max_epochs > 0 else []
    ends += [trainer.max_steps] if trainer.max_steps > 0 else []
    return min(ends, default=planned)
