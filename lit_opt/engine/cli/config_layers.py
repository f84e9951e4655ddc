"""What lies under a command's own words: the run's options, the checkpoint's, the data's."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import yaml
from jsonargparse import Namespace

from lit_opt.engine.cli.arguments import expand_mapping, read_config
from lit_opt.engine.cli.options import Options
from lit_opt.engine.errors import UserError
from lit_opt.engine.runs.checkpoint_file import load

PLAIN = (str, int, float, bool, type(None), list, tuple, dict)
UNWRITTEN = "Unable to serialize instance"  # jsonargparse's words in the place of a value
# What callbacks find when a run starts; it is in the run's checkpoints.
FOUND = {"LearningRateFinder": ("model", "lr"), "BatchSizeFinder": ("data", "batch_size")}
# Options of one command, which a run's config.yaml does not hold.
COMMAND_ONLY = ("config", "name", "resume", "test", "ckpt_path")


def checkpoint_layer(path: Path, options: Options) -> dict[str, Any]:
    """The model's and the data's hyperparameters and `ema` out of a checkpoint."""
    if not path.is_file():
        raise UserError(f"--ckpt_path: there is no file {path}")
    checkpoint = load(path, map_location="cpu", mmap=True)
    if "hyper_parameters" not in checkpoint:
        raise UserError(f"--ckpt_path: {path} has no hyperparameters; expected one of this program")
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
    for callback in layer.get("trainer", {}).get("callbacks") or []:
        group, key = FOUND.get(callback["class_path"].rpartition(".")[2], ("model", ""))
        layer.get(group, {}).pop(key, None)
    given = " ".join(flags)
    for key in ("callbacks", "logger", "plugins"):
        if f"{key}+" in given:
            layer.get("trainer", {}).pop(key, None)
    return layer


def data_layer(data: Any, net: Namespace) -> dict[str, Any]:
    """What the data implies: the sizes that the net takes; for a regression loss and metrics."""
    sizes = {
        "in_shape": list(data.in_shape),
        "in_channels": data.in_shape[0],
        "num_classes": data.num_classes,
    }
    taken = {k: v for k, v in sizes.items() if k in net.get("init_args", {})}
    model: dict[str, Any] = {"net": {"class_path": net.class_path, "init_args": taken}}
    if data.source.regression:
        model |= {"loss": {"class_path": "torch.nn.MSELoss"}, "metrics": {}}
    return {"model": model}


def of_the_experiment(config: Namespace, implied: dict[str, Any]) -> Namespace:
    """What config.yaml holds: neither the command's own options nor the sizes out of the data.

    So one file serves fit, test and predict, and another data set brings its own sizes.
    """
    config = config.clone()
    sizes, net = implied["model"]["net"]["init_args"], config.model.net
    for key in [key for key in sizes if _as_list(net.init_args[key]) == sizes[key]]:
        net.init_args.pop(key)
    for key in COMMAND_ONLY:
        config.pop(key, None)
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
