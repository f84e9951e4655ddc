"""What lies under a command's own words: the run's options, the checkpoint's, the data's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from lit_opt.engine.cli.arguments import expand_mapping, read_config
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
    checkpoint = load(path, map_location="cpu", mmap=True)
    if "hyper_parameters" not in checkpoint:
        raise UserError(f"--ckpt_path: {path} has no hyperparameters; expected one of this program")
    return checkpoint


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
    given = " ".join(flags)
    for key in ("callbacks", "logger", "plugins"):
        if f"{key}+" in given:
            layer.get("trainer", {}).pop(key, None)
    return layer


def data_layer(data: Any, net: Namespace) -> dict[str, Any]:
    """What the data implies: the sizes that the net takes, metrics, and a loss that fits."""
    sizes = {
        "in_shape": list(data.in_shape),
        "in_channels": data.in_shape[0],
        "num_classes": data.num_classes,
    }
    taken = {k: v for k, v in sizes.items() if k in net.get("init_args", {})}
    model: dict[str, Any] = {"net": {"class_path": net.class_path, "init_args": taken}}
    targets = data.targets
    model["metrics"] = {name: {"name": name} for name in targets.metrics}
    if targets.loss:
        model["loss"] = {"class_path": targets.loss}
    return {"model": model}


def with_metrics(config: Namespace, data: Any) -> Namespace:
    """The same with metrics by their import paths, and their sizes out of the data."""
    config = config.clone()
    if config.model.get("metrics"):
        config.model.metrics = complete_metrics(config.model.metrics, data)
    return config


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


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
