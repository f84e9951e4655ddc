"""What lies under a command's own words: the run's options, the checkpoint's, the data's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from lit_opt.engine.cli.arguments import METRICS, expand_mapping, read_config
from lit_opt.engine.cli.options import Options
from lit_opt.engine.errors import UserError
from lit_opt.engine.runs.checkpoint_file import load
from lit_opt.engine.tasks.metrics_by_name import complete_metrics

# Options of one command, which a run's config.yaml does not hold.
COMMAND_ONLY = ("config", "name", "resume", "test", "ckpt_path")


def load_point(path: Path) -> dict[str, Any]:
    """The checkpoint at `path`, verified; its tensors stay in the file until they are read."""
    if not path.is_file():
        raise UserError(f"--ckpt_path: there is no file {path}")
    return load(path, map_location="cpu", mmap=True)


def checkpoint_layer(checkpoint: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """The model's and the data's hyperparameters and `ema` out of a checkpoint."""
    ema = checkpoint.get("callbacks", {}).get("EMA")
    layer: dict[str, Any] = {"ema": ema["decay"]} if ema else {}
    for group, key in (("model", "hyper_parameters"), ("data", "datamodule_hyper_parameters")):
        values = checkpoint.get(key, {})
        known = {k: v for k, v in values.items() if f"{group}.{k}" in options.names}
        layer |= expand_mapping({group: known}, options)
    return layer


def run_layer(run: Path, options: Options, flags: list[str]) -> dict[str, Any]:
    """The configuration of a run that is resumed, but for what the flags would append again."""
    path = run / "config.yaml"
    layer = read_config(path, options) if path.is_file() else {}
    given = " ".join(flags)
    for key in ("callbacks", "logger", "plugins"):
        if f"{key}+" in given:
            layer.get("trainer", {}).pop(key, None)
    return layer


def with_metrics(config: Namespace, options: Options, data: Any) -> Namespace:
    """The same with metrics by their import paths, and their sizes out of the data."""
    config = config.clone()
    if METRICS in options.specs and config.model.get("metrics"):
        config.model.metrics = complete_metrics(config.model.metrics, data)
    return config


def of_the_experiment(
    config: Namespace, implied: Mapping[str, Any], chosen: Mapping[str, type]
) -> Namespace:
    """What config.yaml holds: neither the command's own options nor the sizes out of the data.

    So one file serves fit, test and predict, and another data set brings its own sizes. It names
    the classes that were `chosen` in place of the program's.
    """
    config = config.clone()
    sizes = implied.get("net", {}).get("init_args", {})
    for key in [key for key in sizes if _as_list(config.model.net.init_args[key]) == sizes[key]]:
        config.model.net.init_args.pop(key)
    for key in COMMAND_ONLY:
        config.pop(key, None)
    for group, cls in chosen.items():
        path = f"{cls.__module__}.{cls.__qualname__}"
        config[group] = Namespace(class_path=path, init_args=config.get(group) or Namespace())
    return config


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
