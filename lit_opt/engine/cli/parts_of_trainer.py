"""The callbacks and loggers that a command adds to the user's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback, ProgressBar

from lit_opt.engine.callbacks import (
    EMA,
    EpochLines,
    StepLog,
    StopAtNonFinite,
    WritePredictions,
)
from lit_opt.engine.runs.resume.changed_hyperparameters import ChangedHyperparameters
from lit_opt.engine.runs.resume.training_state import PlateauBeforeCheckpoint, RunningScores
from lit_opt.engine.runs.scores import CSVCurves, tensorboard


def own_callbacks(
    command: str, given: Namespace, run: Path | None, ema: float | None
) -> list[Callback]:
    """Those of `command`; one that the user gave, such as another progress bar, is left out.

    Args:
        command: One of fit, validate, test, predict.
        given: The trainer's configuration, its callbacks built.
        run: The run folder, if there is one.
        ema: The decay of the average of the weights, if one is wanted.
    """
    users = given.callbacks or []
    callbacks: list[Callback] = []
    if ema is not None and command == "fit" and not _has(users, EMA):
        callbacks.append(EMA(ema))
    if given.barebones:
        return callbacks
    if given.enable_progress_bar is not False and not _has(users, ProgressBar):
        callbacks.append(EpochLines())
    if command == "predict" and run:
        callbacks.append(WritePredictions(run))
    if command == "fit":
        callbacks += [ChangedHyperparameters(), StepLog(), RunningScores()]
        callbacks.append(PlateauBeforeCheckpoint())
        if not _has(users, StopAtNonFinite):
            callbacks.append(StopAtNonFinite())
    return callbacks


def _has(callbacks: Sequence[Callback], kind: type[Callback]) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)


def own_loggers(command: str, given: Namespace, run: Path | None, resumed_step: int | None) -> Any:
    """`metrics.csv`, and TensorBoard events where tensorboard is installed, unless given."""
    if given.logger not in (None, True):
        return given.logger
    if command != "fit" or run is None or given.barebones:
        return False
    return [CSVCurves(run, resumed_step), *tensorboard(run, resumed_step)]
