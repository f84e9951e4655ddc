"""The trainer of a command: its callbacks, loggers and plugins beside the user's."""

import atexit
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.distributed
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.precision import MixedPrecision

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.interface import model_of
from lit_opt.engine.base.terminal import is_live
from lit_opt.engine.callbacks import (
    EMA,
    LiveProgress,
    LogProgress,
    StepLog,
    StopAtNonFinite,
    WritePredictions,
)
from lit_opt.engine.callbacks.batch_of_one import NoBatchOfOne
from lit_opt.engine.callbacks.steps_per_execution import StepsPerExecution
from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.objects import Objects
from lit_opt.engine.cli.precision import emulated
from lit_opt.engine.lightning_private import hide_idle_hooks, resume_steps_like_epochs
from lit_opt.engine.reports.outcomes import Outcomes
from lit_opt.engine.reports.timing import Timing
from lit_opt.engine.runs.checkpoint_file import FIRST_LOSS, LAST, checkpoints, use_safe_io
from lit_opt.engine.runs.loggers import keep_first_params, tensorboard
from lit_opt.engine.runs.resume.changed_hyperparameters import FINDERS, ChangedHyperparameters
from lit_opt.engine.runs.resume.replay_training import ReplayTraining
from lit_opt.engine.runs.resume.save_every import SaveEvery
from lit_opt.engine.runs.resume.signals import StopOnSignal, plugins_of
from lit_opt.engine.runs.resume.training_state import PlateauBeforeCheckpoint, RunningScores
from lit_opt.engine.runs.score_tables import ScoreTables
from lit_opt.engine.runs.scores import CSVCurves
from lit_opt.engine.tasks.short_step import NoProfiler, shorten_step


def own_callbacks(
    command: str, given: Namespace, run: Path | None, ema: float | None, compiles: bool = False
) -> list[Callback]:
    """Those of `command`; one that the user gave, such as another progress bar, is left out.

    Args:
        command: One of fit, validate, test, predict.
        given: The trainer's configuration, its callbacks built.
        run: The run folder, if there is one.
        ema: The decay of the average of the weights, if one is wanted.
        compiles: Whether the net is compiled in its first step.
    """
    users = given.callbacks or []
    callbacks: list[Callback] = []
    if ema is not None and command == "fit" and not _has(users, EMA):
        callbacks.append(EMA(ema))
    if given.barebones:
        return callbacks
    if given.enable_progress_bar is not False and not _has(users, ProgressBar):
        callbacks.append(LiveProgress(compiles) if is_live() else LogProgress())
    if run:
        callbacks += [ScoreTables(run), Outcomes(run)]
    if command == "predict" and run:
        callbacks.append(WritePredictions(run))
    if command == "fit":
        callbacks += [StepLog(), Timing(), RunningScores(), PlateauBeforeCheckpoint()]
        callbacks += [NoBatchOfOne(), ReplayTraining()]
        if not _has(users, StopAtNonFinite):
            callbacks.append(StopAtNonFinite())
    return callbacks


def saving_inside(config: Namespace, folder: Path | None) -> list[Callback]:
    """What `--save_every` asks for."""
    every = config.get("save_every")
    return [SaveEvery(every, folder / "checkpoints" / LAST)] if folder and every is not None else []


def _has(parts: Sequence[Any], kind: type) -> bool:
    return any(isinstance(part, kind) for part in parts)


def own_loggers(command: str, given: Namespace, run: Path | None, resumed_step: int | None) -> Any:
    """The user's, then `metrics.csv` and, where tensorboard is installed, its events.

    `--logger false` is none at all.
    """
    users = [] if given.logger in (None, True, False) else given.logger
    users = users if isinstance(users, list) else [users]
    if command != "fit" or run is None or given.barebones or given.logger is False:
        return users or False
    if resumed_step is not None:
        keep_first_params(users)
    events = [] if _has(users, TensorBoardLogger) else tensorboard(run, resumed_step)
    return [*users, CSVCurves(run, resumed_step), *events]


def checkpoints_of(
    line: CommandLine, built: Objects, config: Namespace, folder: Path | None, stop: StopOnSignal
) -> list[ModelCheckpoint]:
    """The callbacks that write best.ckpt and last.ckpt; `stop` is told where the last one is."""
    given = built.trainer_arguments
    if line.command != "fit" or folder is None:
        return []
    if given.barebones or given.enable_checkpointing is False:
        return []
    stop.path = folder / "checkpoints" / LAST
    if not built.scored[0]:
        return checkpoints(folder / "checkpoints")
    monitor, mode = model_of(built.model).best_by()
    monitor, mode = monitor or config.get("monitor"), mode or config.get("monitor_mode")
    return checkpoints(folder / "checkpoints", monitor or FIRST_LOSS, mode)


def trainer_of(
    line: CommandLine,
    built: Objects,
    config: Namespace,
    folder: Path | None,
    callbacks: list[Callback],
    checkpoint: Mapping[str, Any],
) -> Trainer:
    """The trainer; `callbacks` come last, those of the user's and of the command before them.

    `checkpoint` is that of the start; its step is where the curves of a resumed run go on.
    """
    given = built.trainer_arguments
    groups = getattr(built.datamodule, "hparams", {}).get("steps_per_execution", 1) > 1
    first: list[Callback] = [StepsPerExecution()] if groups else []
    plugins = plugins_of(given.plugins, given.strategy)
    if line.command != "fit":  # where Lightning would add one that writes checkpoints
        given.enable_checkpointing = False
    elif not given.barebones:
        first.insert(0, ChangedHyperparameters())
    resumes = line.command == "fit" and config.resume
    resumed_step: int | None = checkpoint.get("global_step") if resumes else None
    arguments = {
        **given,
        "callbacks": [
            *first,
            *_users_callbacks(line.command, given, folder, starts_from=checkpoint),
            *own_callbacks(line.command, given, folder, config.ema, bool(config.compile)),
            *callbacks,
        ],
        "logger": own_loggers(line.command, given, folder, resumed_step),
        "plugins": plugins,
        "profiler": given.profiler or (None if given.barebones else NoProfiler()),
        "default_root_dir": str(folder or given.default_root_dir or "."),
    }
    trainer = _trainer_from(arguments)
    _check_graphs(trainer, config.compile)
    _check_kernels(trainer, getattr(built.model, "hparams", {}).get("optimizer"))
    if cost := emulated(trainer.precision, trainer.strategy.root_device):
        trainer.print(cost)
    use_safe_io(trainer.strategy, plugins)
    hide_idle_hooks(trainer, built.model)
    shorten_step(built.model)
    resume_steps_like_epochs(trainer)
    return trainer


@atexit.register
def _let_threads_end() -> None:
    """Until gloo's threads have dropped the tensors of the last collective.

    They need the interpreter for it, and abort the process if it has been shut down: seen with
    torch 2.14 on Python 3.11. Lightning kills the process that started one which has aborted.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        time.sleep(0.05)


def _users_callbacks(
    command: str, given: Namespace, folder: Path | None, starts_from: Mapping[str, Any]
) -> list[Callback]:
    """The user's that have something to do; a ModelCheckpoint writes into the run's folder."""
    users = given.callbacks or []
    if command != "fit":
        users = [callback for callback in users if not isinstance(callback, Checkpoint)]
    elif starts_from:  # what they find is in the checkpoint's hyperparameters
        users = [callback for callback in users if not isinstance(callback, FINDERS)]
    for callback in users:
        if isinstance(callback, ModelCheckpoint) and folder and not callback.dirpath:
            callback.dirpath = str((folder / "checkpoints").absolute())
    return users


def _trainer_from(arguments: dict[str, Any]) -> Trainer:
    """Raises `UserError` for whatever the Trainer's constructor refuses: it is given options."""
    try:
        return Trainer(**arguments)
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise UserError(str(error)) from error


def _check_graphs(trainer: Any, compiled: bool | str) -> None:
    """CUDA graphs write the gradients of each batch to the same memory, so none can accumulate."""
    on_gpu = trainer.strategy.root_device.type == "cuda"
    adds = on_gpu and trainer.accumulate_grad_batches > 1
    if adds and compiled in ("reduce-overhead", "max-autotune"):
        raise UserError(
            f"--compile {compiled} captures CUDA graphs, which can't accumulate gradients;\n"
            "set --compile default, or --accumulate_grad_batches 1"
        )


def _check_kernels(trainer: Any, optimizer: Any) -> None:
    """What an optimizer's own step can't do is else told in the first one."""
    asked = optimizer if isinstance(optimizer, Mapping) else {}
    mixed = isinstance(trainer.precision_plugin, MixedPrecision)
    if asked.get("fused") is True and mixed and trainer.gradient_clip_val:
        raise UserError(
            "--optimizer.fused true can't go with --gradient_clip_val in mixed precision;\n"
            "leave out --optimizer.fused"
        )
    if asked.get("capturable") is True and trainer.strategy.root_device.type == "cpu":
        raise UserError("--optimizer.capturable true needs a GPU; leave it out")
