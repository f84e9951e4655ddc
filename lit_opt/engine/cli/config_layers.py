"""What lies under a command's own words: the run's options, the checkpoint's, the data's."""

import inspect
from collections.abc import Collection, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import yaml
from jsonargparse import Namespace

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.cli.config_file import expand_mapping, read_config
from lit_opt.engine.cli.option_values import METRICS
from lit_opt.engine.cli.options import Options
from lit_opt.engine.runs.checkpoint_file import load
from lit_opt.engine.runs.loggers import of_the_run
from lit_opt.engine.tasks.metrics_by_name import complete_metrics

PLAIN = (str, int, float, bool, type(None), list, tuple, dict)
UNWRITTEN = "Unable to serialize instance"  # jsonargparse's words in the place of a value
# What callbacks find when a run starts; it is in the run's checkpoints.
FOUND = {"LearningRateFinder": ("model", "lr"), "BatchSizeFinder": ("data", "batch_size")}
# Options of one command, which a run's config.yaml does not hold.
COMMAND_ONLY = ("config", "name", "resume", "test", "ckpt_path")


def load_point(path: Path) -> dict[str, Any]:
    """The checkpoint at `path`, verified; its tensors stay in the file until they are read."""
    if not path.is_file():
        raise UserError(f"--ckpt_path: there is no file {path}")
    return load(path, mmap=True)


def checkpoint_layer(checkpoint: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """The model's and the data's hyperparameters and `ema` out of a checkpoint."""
    ema = checkpoint.get("callbacks", {}).get("EMA")
    layer: dict[str, Any] = {"ema": ema["decay"]} if ema else {}
    for group, key in (("model", "hyper_parameters"), ("data", "datamodule_hyper_parameters")):
        # No metrics: those of the data, as an older version did not write them.
        values = {k: v for k, v in checkpoint.get(key, {}).items() if (k, v) != ("metrics", None)}
        known = {k: v for k, v in values.items() if f"{group}.{k}" in options.names}
        layer |= expand_mapping({group: known}, options)
    return layer


def run_layer(run: Path, options: Options, flags: list[str]) -> dict[str, Any]:
    """The configuration of a run that is resumed, but for what the flags would append again."""
    path = run / "config.yaml"
    layer = read_config(path, options) if path.is_file() else {}
    for callback in layer.get("trainer", {}).get("callbacks") or []:
        group, key = FOUND.get(callback["class_path"].rpartition(".")[2], ("model", ""))
        layer.get(group, {}).pop(key, None)
    given = " ".join(flags)
    for key in ("callbacks", "logger", "plugins"):
        if f"{key}+" in given:
            layer.get("trainer", {}).pop(key, None)
    return layer


def fill_sizes(
    config: Namespace, implied: Mapping[str, Any], flags: list[str], assumed: Collection[str]
) -> Namespace:
    """The same with the implied sizes of a net that replaces another config's, with their defaults.

    Naming a net anew drops all arguments of the one before, the implied ones among them. A size
    without a default is one of `assumed`.
    """
    sizes = implied.get("net", {}).get("init_args", {})
    for key in assumed:
        if key not in sizes:
            raise UserError(f"the net needs {key}, which the data doesn't tell; set --net.{key}")
    for key, size in sizes.items():
        net = config.model.net
        taken = inspect.signature(resolve_name(net.class_path)).parameters
        given = any(flag.startswith(f"--model.net.{key}=") for flag in flags)
        unset = key in taken and net.init_args.get(key) == taken[key].default
        if not given and (unset or key in assumed):
            net.init_args[key] = tuple(size) if isinstance(size, list) else size
    return config


def with_metrics(config: Namespace, options: Options, data: Any) -> Namespace:
    """The same with metrics by their import paths, and their sizes out of the data."""
    config = config.clone()
    if METRICS in options.specs and config.model.get("metrics"):
        config.model.metrics = complete_metrics(config.model.metrics, data)
    return config


def with_runs_of_loggers(config: Namespace, folder: Path | None) -> Namespace:
    """The same with loggers that are told their run's name, folder and id, where they are to be.

    To build them; config.yaml keeps what the user gave, as it is for other runs as well.
    """
    given = config.trainer.logger
    if folder is None or isinstance(given, bool | None):
        return config
    config = config.clone()
    loggers = config.trainer.logger
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        name, arguments = logger.class_path.rpartition(".")[2], logger.get("init_args")
        if arguments is not None:  # a class of one's own may take none
            for key, value in of_the_run(name, arguments, folder).items():
                arguments[key] = value
    return config


def of_the_experiment(
    config: Namespace, implied: Mapping[str, Any], chosen: Mapping[str, type]
) -> Namespace:
    """What config.yaml holds: neither the command's own options nor the sizes out of the data.

    So one file serves fit, test and predict, and another data set brings its own sizes. It names
    the classes that were `chosen` in place of the program's.
    """
    config = config.clone()
    for place in ("init_args", "dict_kwargs"):
        for key, size in implied.get("net", {}).get(place, {}).items():
            if _as_list(config.model.net[place][key]) == size:
                config.model.net[place].pop(key)
    for key in COMMAND_ONLY:
        config.pop(key, None)
    for group, cls in chosen.items():
        path = f"{cls.__module__}.{cls.__qualname__}"
        config[group] = Namespace(class_path=path, init_args=config.get(group) or Namespace())
    return config


def leave_defaults(value: Any) -> None:
    """Drops the objects and functions out of `init_args` that are a class's own defaults.

    Such as a callback's device: they were not given, and not all of them can be written.
    """
    for inner in value if isinstance(value, list) else vars(value).values():
        if isinstance(inner, Namespace | list):
            leave_defaults(inner)
    if isinstance(value, Namespace) and isinstance(value.get("init_args"), Namespace):
        taken = inspect.signature(resolve_name(value.class_path)).parameters
        for key, inner in list(vars(value.init_args).items()):
            if type(inner) not in PLAIN and key in taken and inner == taken[key].default:
                value.init_args.pop(key)


def written(text: str, config: Mapping[str, Any]) -> str:
    """A dumped configuration; what jsonargparse did not write stays plain, or is left out."""
    if UNWRITTEN not in text:
        return text
    return str(yaml.safe_dump(_written(yaml.safe_load(text), config), sort_keys=False))


def _written(value: Any, given: Any) -> Any:
    if isinstance(value, list):
        return [_written(v, g) for v, g in zip(value, given, strict=True)]
    if not isinstance(value, dict):
        return given if str(value).startswith(UNWRITTEN) else value
    pairs = {key: _written(inner, given.get(key)) for key, inner in value.items()}
    return {k: v for k, v in pairs.items() if type(v) in PLAIN}


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
