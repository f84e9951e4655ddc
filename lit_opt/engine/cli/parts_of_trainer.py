"""The trainer of a command: its callbacks, loggers and plugins beside the user's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, ProgressBar

from lit_opt.engine.callbacks import (
    EMA,
    EpochLines,
    StepLog,
    StopAtNonFinite,
    WritePredictions,
)
from lit_opt.engine.callbacks.steps_per_execution import StepsPerExecution
from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.objects import Objects
from lit_opt.engine.cli.precision import emulated
from lit_opt.engine.errors import UserError
from lit_opt.engine.lightning_private import hide_idle_hooks
from lit_opt.engine.runs.checkpoint_file import LAST, checkpoints, load, use_safe_io
from lit_opt.engine.runs.resume.changed_hyperparameters import ChangedHyperparameters
from lit_opt.engine.runs.resume.signals import StopOnSignal, plugins_of
from lit_opt.engine.runs.resume.training_state import PlateauBeforeCheckpoint, RunningScores
from lit_opt.engine.runs.scores import CSVCurves, tensorboard
from lit_opt.engine.tasks.metrics import better_direction
from lit_opt.engine.tasks.short_step import NoProfiler


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


def checkpoints_of(
    line: CommandLine, built: Objects, folder: Path | None, stop: StopOnSignal
) -> list[ModelCheckpoint]:
    """The callbacks that write best.ckpt and last.ckpt; `stop` is told where the last one is."""
    given, model = built.trainer_arguments, built.model
    if line.command != "fit" or folder is None:
        return []
    if given.barebones or given.enable_checkpointing is False:
        return []
    stop.path = folder / "checkpoints" / LAST
    monitor = model.hparams["monitor"] if built.validates else None
    mode = better_direction(model.val_scores, model.hparams["monitor"])
    return checkpoints(folder / "checkpoints", monitor, mode)


def trainer_of(
    line: CommandLine,
    built: Objects,
    config: Namespace,
    folder: Path | None,
    callbacks: list[Callback],
) -> Trainer:
    """The trainer; `callbacks` come last, those of the user's and of the command before them."""
    given, data = built.trainer_arguments, built.datamodule
    groups = data.hparams.get("steps_per_execution", 1) > 1
    plugins = plugins_of(given.plugins, given.strategy)
    users = given.callbacks or []
    if line.command != "fit":  # where Lightning would add one that writes checkpoints
        users = [callback for callback in users if not isinstance(callback, Checkpoint)]
        given.enable_checkpointing = False
    arguments = {
        **given,
        "callbacks": [
            *([StepsPerExecution()] if groups else []),
            *users,
            *own_callbacks(line.command, given, folder, config.ema),
            *callbacks,
        ],
        "logger": own_loggers(line.command, given, folder, _resumed_step(line, config)),
        "plugins": plugins,
        "profiler": given.profiler or (None if given.barebones else NoProfiler()),
        "default_root_dir": str(folder or given.default_root_dir or "."),
    }
    trainer = _built(arguments)
    _check_graphs(trainer, config.compile)
    if cost := emulated(trainer.precision, trainer.strategy.root_device):
        trainer.print(cost)
    use_safe_io(trainer.strategy, plugins)
    hide_idle_hooks(trainer, built.model)
    return trainer


def _built(arguments: dict[str, Any]) -> Trainer:
    """Raises `UserError` for whatever the Trainer's constructor refuses: it is given options."""
    for key in ("accumulate_grad_batches", "check_val_every_n_epoch"):  # it would divide by them
        if arguments[key] is not None and arguments[key] < 1:
            raise UserError(f"--{key} is {arguments[key]}; expected at least 1")
    try:
        return Trainer(**arguments)
    except (ValueError, TypeError, ImportError) as error:
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


def _resumed_step(line: CommandLine, config: Namespace) -> int | None:
    """The optimizer step from which a run goes on in its own folder."""
    if line.command != "fit" or not config.resume or not config.ckpt_path:
        return None
    step: int = load(Path(config.ckpt_path), mmap=True)["global_step"]
    return step
