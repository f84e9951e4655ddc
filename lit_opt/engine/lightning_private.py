"""Every private name of Lightning, torch, torchmetrics and jsonargparse that lit-opt touches.

Nothing else in the package touches one; `tests/test_architecture.py` sees to it. Each function says
what it does, why no public name does it, the version it was written for, and what happens when the
private name is gone: the public way, slower or plainer, never an error at import. A test for each
in `tests/engine/test_lightning_private.py` fails when its name stops working.
"""

from __future__ import annotations

from typing import Any

# ---- the step: what the training step goes through ----


# ---- loading: what a loader does ----


def object_arguments(*names: str) -> list[str]:
    """The arguments that `save_hyperparameters(ignore=…)` must leave out, as they are objects.

    The command line hands Lightning the plain values that the objects were built from, in the
    context variable `_given_hyperparameters`, and they are to be kept; built in Python they are
    instances, which a checkpoint can't hold. No public name tells the two apart. Lightning 2.6;
    without it they are left out always, and must be given again to `load_from_checkpoint`.
    """
    try:
        from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters

        return list(names) if _given_hyperparameters.get() is None else []
    except (ImportError, AttributeError):
        return list(names)


def count_steps_for_loggers(trainer: Any, steps: int) -> None:
    """Adds optimizer steps that Lightning has not seen to the count that `self.log` plots over.

    Lightning adds one for each of its own batches, to `_batches_that_stepped`, also in manual
    optimization, and has no public name for it. Lightning 2.6; without it the curves of a run
    with `--steps_per_execution` are over groups.
    """
    loop = trainer.fit_loop.epoch_loop
    if hasattr(loop, "_batches_that_stepped"):
        loop._batches_that_stepped += steps


# ---- resuming: positions, counts and states ----


# ---- the command line: parsers and messages ----
