"""Loggers beside `metrics.csv`: one run of theirs for each run folder, however often resumed."""

import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CometLogger, Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from lit_opt.engine.base.errors import warn
from lit_opt.engine.runs.atomic_file import write_text

IDS = ".loggers.json"  # in the run folder: the ids of the user's loggers, by class
HPARAMS = ".hparams"  # the end of the name of the events that hold hyperparameters
REMOTE = ("WandbLogger", "MLFlowLogger", "CometLogger")
Params = dict[str, bool | int | float | str]


class Events(TensorBoardLogger):
    """TensorBoard events in the run folder, without a hparams.yaml beside config.yaml."""

    @rank_zero_only
    def save(self, *args: Any, **kwargs: Any) -> None:
        self.experiment.flush()


def tensorboard(folder: Path, step: int | None = None) -> list[Logger]:
    """A logger, if tensorboard is installed; what was logged after `step` is shown no more."""
    if find_spec("tensorboard") is None:
        return []
    purge = None if step is None else step + 1
    return [Events(folder, name="", version="", default_hp_metric=False, purge_step=purge)]


def write_end(
    folder: Path,
    params: Params,
    scores: Mapping[str, float],
    pictures: Mapping[str, Any],
    step: int,
) -> None:
    """What TensorBoard's HPARAMS shows of a run: its parameters and `final/…`, its last scores.

    In a file of its own, pictures too, that takes the place of the one before the run was resumed.
    """
    import numpy as np
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    before = list(folder.glob(f"*{HPARAMS}"))
    final = {f"final/{name}": float(value) for name, value in scores.items()}
    with SummaryWriter(folder, filename_suffix=HPARAMS) as writer:
        for summary in hparams(params, final):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)
        for name, value in final.items():
            writer.add_scalar(name, value)
        for name, image in pictures.items():
            writer.add_image(name, np.asarray(image), step, dataformats="HWC")
    for path in before:
        path.unlink()


# ---- the user's loggers


def of_the_run(name: str, arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a logger is told of its run, where the user has not: `name` is the class'.

    The run's name is that of the folder, its files are within, and its id is the one of the start
    that is resumed.
    """
    home = str(folder.absolute())
    known = _ids(folder).get(name)
    told: dict[str, str | None]
    if name == "WandbLogger":
        told = {"name": folder.name, "save_dir": home, "id": known or uuid4().hex[:8]}
        if arguments.get("version"):  # another word for the id
            told.pop("id")
    elif name == "MLFlowLogger":
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else it asks for a data base
        told = {"run_name": folder.name, "save_dir": f"{home}/mlruns", "run_id": known}
    elif name == "CometLogger":
        told = {"experiment_key": known or uuid4().hex}
    else:
        return {}
    from lightning.pytorch import loggers

    taken = inspect.signature(getattr(loggers, name)).parameters
    return {k: v for k, v in told.items() if arguments.get(k) in (None, taken[k].default)}


def _ids(folder: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        return dict(json.loads((folder / IDS).read_bytes()))
    return {}


class TellLoggers(Callback):
    """Gives the loggers the run's parameters and what is known at its end, and keeps their ids.

    Args:
        folder: Of the run.
        params: By short names.
    """

    def __init__(self, folder: Path, params: Params) -> None:
        self.folder, self.params = folder, params
        self.has_events = False

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.has_events = any(isinstance(logger, Events) for logger in trainer.loggers)
        named = [x for x in trainer.loggers if type(x).__name__ in REMOTE]
        given = {*pl_module.hparams, *getattr(trainer.datamodule, "hparams", {})}
        beside = {k: v for k, v in self.params.items() if k.partition(".")[0] not in given}
        for logger in named if trainer.is_global_zero else ():
            logger.log_hyperparams(beside)  # Lightning logs those that are given
            if isinstance(logger, CometLogger):
                logger.experiment.set_name(self.folder.name)
        ids = {type(logger).__name__: str(logger.version) for logger in named}
        if ids and trainer.is_global_zero:
            write_text(self.folder / IDS, json.dumps(_ids(self.folder) | ids) + "\n")

    def tell_end(
        self, trainer: Any, scores: Mapping[str, float], draw: Callable[[], Mapping[str, Any]]
    ) -> None:
        """The final scores and what `draw` draws, by name; a failure costs the run nothing."""
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        try:
            pictures = draw()
            if self.has_events:
                write_end(self.folder, self.params, scores, pictures, step)
            for logger in trainer.loggers:
                for name, image in pictures.items():
                    log_picture(logger, name, image, step)
        except Exception as error:  # of a service, or a full disk
            warn(f"not all is logged: {type(error).__name__}: {' '.join(str(error).split())}")


def keep_first_params(loggers: Iterable[Logger]) -> None:
    """MLflow refuses another value of a parameter, such as the lr of a resumed run: it is told."""
    for logger in loggers:
        if isinstance(logger, MLFlowLogger):
            logger.log_hyperparams = _or_warn(logger.log_hyperparams)  # type: ignore[method-assign]


def _or_warn(log: Any) -> Any:
    told: list[Exception] = []

    def logged(params: Any) -> None:
        try:
            log(params)
        except Exception as error:  # of mlflow, which is imported where it is used
            if not told:
                told.append(error)
                warn("MLflow keeps the parameters with which this run was first started")

    return logged


def log_picture(logger: Logger, name: str, image: Any, step: int) -> None:
    """Gives a PIL image to a logger that takes images."""
    import numpy as np

    log: Any = logger
    kind = type(logger).__name__
    if isinstance(logger, TensorBoardLogger):
        log.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")
    elif kind == "WandbLogger":
        log.log_image(name, [image])
    elif kind == "MLFlowLogger":
        log.experiment.log_image(log.run_id, image, f"{name.replace('/', '-')}.png")
    elif kind == "CometLogger":
        log.experiment.log_image(image, name=name, step=step)


def plain_params(value: Any, name: str = "") -> Params:
    """Parameters by short names, as one compares them: `lr`, `net`, `net.hidden`, `optimizer`.

    A class is told by its name, beside its arguments; None is left out, a list is text.
    """
    if isinstance(value, Mapping):
        named = value.get("class_path") or (name and value.get("name"))
        params: Params = {name: str(named).rpartition(".")[2]} if named and name else {}
        inner = {k: v for k, v in value.items() if k not in ("class_path", "init_args", "name")}
        for key, item in {**inner, **(value.get("init_args") or {})}.items():
            params |= plain_params(item, f"{name}.{key}" if name else str(key))
        return params
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        names = [str(item["class_path"]).rpartition(".")[2] for item in value]
        params = {name: ", ".join(names)}
        for key, item in zip(names, value, strict=True):
            params |= plain_params(item.get("init_args") or {}, f"{name}.{key}")
        return params
    if value is None:
        return {}
    return {name: value if isinstance(value, bool | int | float | str) else str(value)}


def params_of_run(config: Mapping[str, Any]) -> Params:
    """Of a run's configuration what one varies: all but the Trainer's defaults, and its output."""
    defaults = {k: p.default for k, p in inspect.signature(Trainer).parameters.items()}
    quiet = ("logger", "default_root_dir", "enable_model_summary", "enable_progress_bar")
    groups = ("model", "data", "trainer")
    params = plain_params({k: v for k, v in config.items() if k not in groups})
    trainer = config.get("trainer") or {}
    params |= plain_params({k: v for k, v in trainer.items() if v != defaults.get(k, v)})
    for group in ("data", "model"):
        given = config.get(group) or {}
        named = {group: given} if "class_path" in given else given
        params |= {k.removeprefix(f"{group}."): v for k, v in plain_params(named).items()}
    return {k: v for k, v in params.items() if k.partition(".")[0] not in quiet}
