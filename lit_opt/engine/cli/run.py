"""The life of a run: `run` is read from top to bottom, the functions below it in their order."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_opt.engine.base.errors import RunError, Stopped
from lit_opt.engine.base.interface import data_of, model_of
from lit_opt.engine.callbacks.stage import StageAtException
from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.config_layers import (
    fill_sizes,
    of_the_experiment,
    with_metrics,
    with_runs_of_loggers,
)
from lit_opt.engine.cli.messages import full_memory, is_usage, lost_process
from lit_opt.engine.cli.objects import Objects, build_data, check_objects
from lit_opt.engine.cli.parts_of_trainer import checkpoints_of, saving_inside, trainer_of
from lit_opt.engine.cli.program import Program
from lit_opt.engine.cli.start_point import folder_for, keep_facts, leave_if_finished, start_point
from lit_opt.engine.lightning_private import is_of_sigterm
from lit_opt.engine.reports.at_end import leave_report, report_if_broken
from lit_opt.engine.reports.pictures import pictures_of
from lit_opt.engine.runs.atomic_file import write_text
from lit_opt.engine.runs.checkpoint_file import best_checkpoint
from lit_opt.engine.runs.environment import record_start
from lit_opt.engine.runs.folder import (
    is_new,
    mark_finished,
    probe,
    remove_all,
)
from lit_opt.engine.runs.loggers import TellLoggers, params_of_run
from lit_opt.engine.runs.resume.changed_hyperparameters import FINDERS, changes
from lit_opt.engine.runs.resume.signals import StopOnSignal
from lit_opt.engine.runs.resume.training_state import early_end
from lit_opt.engine.runs.scores import check_losses, error_line, of_the_user, save_scores


@dataclass
class Run:
    """What a command built and reached.

    `folder` is None for a fast_dev_run; `datamodule` where the model has the loaders; `kept` are
    the callbacks that write best.ckpt, if there is a validation, and last.ckpt; `scores` are those
    of the final validation and test, by name, if the model has them.
    """

    folder: Path | None
    trainer: Trainer
    model: Any
    datamodule: Any
    kept: list[ModelCheckpoint]
    validates: bool
    tests: bool
    scores: dict[str, float] = field(default_factory=dict)


def run(program: Program, words: list[str]) -> Run:
    """Runs one command, from its words to its scores."""
    line = CommandLine(program, words)
    with ExitStack() as held:
        # From words to a configuration.
        config = line.parse_without_layers()
        folder = folder_for(line, config, held)
        point, checkpoint = start_point(line, config, folder)
        config = line.parse()
        peeked = build_data(line, config)
        keep_facts(line.command, peeked, checkpoint, point, folder)
        implied = data_of(peeked).implied_options(config.get("model", {}))
        line.imply(implied)
        config = line.parse(last=True)
        config = fill_sizes(config, implied, line.flags, line.assumed)
        line.print_if_asked(of_the_experiment(config, implied, line.chosen))
        if folder and line.command == "fit" and config.resume:
            leave_if_finished(folder, config)

        # From the configuration to objects.
        given = with_metrics(config, line.options, peeked)
        built = Objects(line, with_runs_of_loggers(given, folder), implied)
        data_of(built.datamodule).share(peeked)
        check_objects(built, config, checkpoint)
        stage, stop = StageAtException(), StopOnSignal()
        kept = checkpoints_of(line, built, config, folder, stop)
        tell = TellLoggers(folder, _params(line, config, implied)) if folder else None
        last = [stage, *kept, *saving_inside(config, folder), *filter(None, [tell]), stop]
        trainer = trainer_of(line, built, config, folder, last, checkpoint)
        checkpoint.clear()  # its file can be replaced now
        this = Run(folder, trainer, built.model, built.datamodule, kept, *built.scored)
        held.enter_context(_told_in_our_words(this, stage))

        # What the command does with them.
        if line.command == "fit":
            with _recorded(line, this, config, implied):
                _tell_continuation(line, this, config)
                this.trainer.fit(this.model, this.datamodule, ckpt_path=point, weights_only=True)
            stop.leave_if_asked()
            _end(this, config, tell)
        elif line.command == "predict":
            _predict(this, point)
        else:
            _score(this, line.command, point)
            check_losses(this.scores)
    return this


def _params(line: CommandLine, config: Namespace, implied: dict[str, Any]) -> dict[str, Any]:
    """For the loggers."""
    return params_of_run(yaml.safe_load(line.dump(of_the_experiment(config, implied, line.chosen))))


# ---- what it does


@contextmanager
def _told_in_our_words(this: Run, at: StageAtException) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        ours = full_memory(error, at.stage, this.trainer, this.datamodule)
        told = lost_process(ours, this.trainer, this.folder)
        if told is error:
            raise
        raise told from error
    except SystemExit as error:  # other ranks leave with 0 where rank 0 tells why
        if error.code or this.trainer.local_rank or is_of_sigterm(error):
            raise
        raise RunError(
            f"an exit with status 0 within {at.stage}: the run is not finished"
        ) from error


@contextmanager
def _recorded(
    line: CommandLine, this: Run, config: Namespace, implied: dict[str, Any]
) -> Iterator[None]:
    """Writes config.yaml and environment.json; a fit that is refused leaves the old config."""
    if mode := config.compile:  # in place: the checkpoint's keys stay the same
        net = model_of(this.model).net or this.model
        net.compile(mode="default" if mode is True else mode)
    if this.folder is None or not this.trainer.is_global_zero:
        yield
        return
    probe(this.folder, sum(p.nbytes for p in this.model.parameters()) if this.kept else 0)
    path = this.folder / "config.yaml"
    made = is_new(this.folder)
    before = path.read_bytes() if path.is_file() else None
    text = line.dump(of_the_experiment(config, implied, line.chosen))
    write_text(path, f"# python train.py --config {path}\n{text}")
    record_start(this.folder, this.trainer, config.seed_everything)
    try:
        with report_if_broken(this.folder, this.trainer):
            yield
    except (RunError, Stopped):
        raise
    except Exception as error:  # such as another batch size inside an epoch
        if is_usage(error) and made and this.trainer.global_step == 0:
            remove_all(this.folder)
        elif before is not None:
            write_text(path, before)
        raise


def _tell_continuation(line: CommandLine, this: Run, config: Namespace) -> None:
    if config.ckpt_path:
        told = changes(line.layers[-1], config.as_dict())
        told = [change for change in told if not change.startswith("model.")]  # a callback's
        this.trainer.print(", ".join([f"continuing {config.ckpt_path}", *told]))


def _end(this: Run, config: Namespace, tell: TellLoggers | None) -> None:
    """Why the training ended, if before its length; the best checkpoint, its scores, the report."""
    told = early_end(this.trainer), best_checkpoint(this.trainer, this.kept)
    for line in filter(None, told):
        this.trainer.print(line)
    if config.test:
        _score_best(this)
    if tell and this.folder:
        tell.tell_end(this.trainer, this.scores, partial(pictures_of, this.folder))
    _finish(this, config)


def _score_best(this: Run) -> None:
    """Validates and tests the best checkpoint, or the last weights where nothing is validated."""
    trainer: Any = this.trainer
    trainer.loggers = of_the_user(trainer.loggers)  # our curves stay those of the fit
    trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, FINDERS)]
    best = this.kept[0].best_model_path or None if this.kept else None
    if best is None and this.kept and this.validates:
        this.trainer.print("no finite validation within the run: the last weights are scored")
    if this.validates:
        _score(this, "validate", best)
    if this.tests:
        _score(this, "test", best)
    if this.folder and this.trainer.is_global_zero:
        save_scores(this.folder / "metrics.json", this.scores)
    check_losses(this.scores)


def _score(this: Run, command: str, point: Path | str | None) -> None:
    scored: dict[str, Any] = {"datamodule": this.datamodule, "ckpt_path": point, "verbose": False}
    method = this.trainer.validate if command == "validate" else this.trainer.test
    results: list[Mapping[str, float]] = method(this.model, weights_only=True, **scored)
    title = "Validation" if command == "validate" else "Test"
    for scores in filter(None, results[:1]):  # none with --limit_test_batches 0, --barebones
        this.scores |= scores
        this.trainer.print(error_line(title, scores))


def _predict(this: Run, point: Path | None) -> None:
    this.trainer.predict(
        this.model,
        datamodule=this.datamodule,
        ckpt_path=point,
        return_predictions=False,
        weights_only=True,
    )


def _finish(this: Run, config: Namespace) -> None:
    if this.folder and this.trainer.is_global_zero:
        mark_finished(this.folder, config.trainer)
        if path := leave_report(this.folder, this.trainer, early_end(this.trainer) or "finished"):
            this.trainer.print(f"report: {path}")
        this.trainer.print(f"run folder: {this.folder}")
