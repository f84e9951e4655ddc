"""The layers of a configuration: default < data < checkpoint < configs in their order < flags."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from lit_opt.datamodule import ImageData
from lit_opt.engine.cli.arguments import dump, read_config
from lit_opt.engine.cli.options import Options
from lit_opt.engine.errors import UserError
from lit_opt.engine.runs.checkpoint_file import load


def config_label(words: list[str]) -> str | None:
    """What an unnamed run is called: after the last `--config`, or the run that it is of."""
    files = [b for a, b in pairwise(words) if a in ("--config", "-c")]
    files += [word.partition("=")[2] for word in words if word.startswith("--config=")]
    if not files:
        return None
    path = Path(files[-1]).absolute()
    return path.parent.name if path.stem == "config" else path.stem


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
        layer[group] = {k: v for k, v in values.items() if f"{group}.{k}" in options.names}
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


def data_layer(data: ImageData, net: Namespace) -> dict[str, Any]:
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


def parse_layers(
    parser: ArgumentParser, command: str, layers: list[dict[str, Any]], flags: list[str]
) -> Namespace:
    """The configuration of `command`; `layers` are weaker than the configs among the flags."""
    configs = [f"--config={dump(layer)}" for layer in layers]
    try:
        return parser.parse_args([command, *configs, *flags])[command]
    except UserError as error:
        unknown = re.search(r"Option '(\w+)' is not accepted", str(error))
        inner = re.match(r"--(\w+):", str(error))  # told without the option that it belongs to
        name = unknown[1] if unknown else inner[1] if inner else ""
        wrong = [flag for flag in flags if flag.partition("=")[0].endswith(f".{name}")]
        if not wrong:
            raise
        if not unknown:
            raise UserError(f"{wrong[0].partition('=')[0]}{str(error)[len(name) + 2 :]}") from error
        others = [flag for flag in flags if flag not in wrong]
        group = wrong[0].partition("=")[0][2:].rpartition(".")[0]
        owner = parse_layers(parser, command, layers, others)[group]
        raise UserError(f"unknown argument {wrong[0]}; {_arguments(owner)}") from error


def _arguments(owner: Any) -> str:
    """`MLP takes in_shape, num_classes`, of the last one where there are several."""
    spec = owner[-1] if isinstance(owner, list) else owner
    taken = ", ".join(spec.get("init_args", Namespace()).keys()) or "no arguments"
    return f"{spec.class_path.rpartition('.')[2]} takes {taken}"
