"""A configuration to the model, the data and the arguments of the Trainer."""

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn

from lit_opt.engine.base.errors import RunError, UserError
from lit_opt.engine.base.interface import data_of, model_of
from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.messages import (
    LARGER_THAN_MEMORY,
    is_full,
    refused_object,
)
from lit_opt.engine.tasks.pretrained import build_net, takes_weights

# Smaller ones end in an error of arithmetic after the first steps, or do something else in silence.
LEAST = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "val_check_interval": 1e-9}
LEAST |= {"log_every_n_steps": 0, "gradient_clip_val": 0, "min_epochs": 0, "min_steps": 0}
LEAST |= {"num_sanity_val_steps": -1}
PER_CORE = 16  # processes; more are a slip of the finger, and would take the machine down


class Objects(LightningCLI):
    """Lightning's CLI from a configuration on: seeds, then builds all but the Trainer.

    It gives the model and the data the hyperparameters that `save_hyperparameters` keeps, as they
    stand in the configuration, so that `load_from_checkpoint` can build them again.

    Args:
        line: Whose parser and classes are used.
        config: What it parsed.
        implied: Options of the model that the data implies.

    Raises:
        UserError: for a value that a net, a loss or a callback refuses.
    """

    model: Any  # yours, with all that its class has
    datamodule: Any

    def __init__(self, line: CommandLine, config: Namespace, implied: Mapping[str, Any]) -> None:
        self.line, self.given, self.implied = line, config, implied
        super().__init__(
            line.model_class,
            line.data_class,
            save_config_callback=None,
            auto_configure_optimizers=False,
            run=False,
        )

    def setup_parser(self, *args: Any) -> None:
        self.parser = self.line.parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = self.given

    def instantiate_classes(self) -> None:
        try:
            config = _with_built_net(self.config, self.implied.get("net", {}))
            built = self.parser.instantiate_classes(config)
        except (ValueError, TypeError, RuntimeError) as error:
            if is_full(error):
                raise RunError(f"out of memory{LARGER_THAN_MEMORY}") from error
            raise UserError(refused_object(str(error))) from error
        self.model, self.datamodule = built.model, built.get("data")
        self.trainer_arguments = built.trainer
        if self.datamodule is not None:
            self.datamodule.will_test = bool(self.config.get("test"))
        for part, group in ((self.model, "model"), (self.datamodule, "data")):
            given = self.config.get(group)
            if part is not None and given and not part.hparams:  # its class doesn't save them
                part.save_hyperparameters(given.as_dict())

    @cached_property
    def scored(self) -> tuple[bool, bool]:
        """Whether a fit is validated, and whether there is a test for its end."""
        validates = _has_loop(self, "validation_step", "val_dataloader")
        if self.trainer_arguments.limit_val_batches == 0:
            validates = False
        validates = validates and data_of(self.datamodule).has_validation
        return validates, _has_loop(self, "test_step", "test_dataloader")


def _with_built_net(config: Namespace, implied: Mapping[str, Any]) -> Namespace:
    """The same with the net built, if its factory may refuse a size, such as with weights.

    Args:
        config: The configuration.
        implied: The option `net` as the data implies it.
    """
    net = config.get("model", {}).get("net")
    if not isinstance(net, Namespace):
        return config
    places = [net[place] for place in ("init_args", "dict_kwargs") if place in net]
    given = {key: value for place in places for key, value in dict(place).items()}
    sizes = {k: v for k, v in implied.get("dict_kwargs", {}).items() if given.get(k) == v}
    if takes_weights(given):
        sizes["num_classes"] = given["num_classes"]
    if not sizes:
        return config
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_argument("--net", type=nn.Module)

    def build(taken: dict[str, Any]) -> nn.Module:
        asked = net.clone()
        for place in ("init_args", "dict_kwargs"):
            for key in sizes.keys() - taken.keys():
                asked.get(place, {}).pop(key, None)
        built: nn.Module = parser.instantiate_classes(Namespace(net=asked)).net
        return built

    config = config.clone()
    config.model.net = build_net(build, sizes)
    return config


def _has_loop(built: Objects, step: str, loader: str) -> bool:
    owners = [part for part in (built.model, built.datamodule) if part is not None]
    has_loader = any(is_overridden(loader, owner) for owner in owners)
    return has_loader and is_overridden(step, built.model)


def build_data(line: CommandLine, config: Namespace) -> Any:
    """The data module alone, to ask what the net must fit before the net is built.

    None if its class has nothing to say of that.
    """
    if not hasattr(line.data_class, "implied_options"):
        return None
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(line.data_class, "data")
    return parser.instantiate_classes(parser.parse_object({"data": config.data})).data


def check_weights(model: LightningModule, weights: dict[str, torch.Tensor]) -> None:
    """Raises `UserError` if a checkpoint's `state_dict` is another net's."""
    own = model.state_dict()
    wrong = [
        f"size mismatch for {name}: {tuple(weights[name].shape)} in the checkpoint, "
        f"{tuple(own[name].shape)} here"
        for name in sorted(own.keys() & weights.keys())
        if own[name].shape != weights[name].shape
    ]
    if model.strict_loading:
        wrong += [f"{name} is not in the checkpoint" for name in own.keys() - weights.keys()]
        wrong += [f"{name} is in the checkpoint only" for name in weights.keys() - own.keys()]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(f"the checkpoint's weights do not fit --net: {wrong[0]}{more}")


def check_accelerator(accelerator: Any) -> None:
    """Raises `UserError` if a GPU is asked for and there is none."""
    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator in ("gpu", "cuda", "mps") and not there:
        raise UserError("there is no GPU that torch can use here; set --accelerator auto or cpu")


def _check_max_time(time: Any) -> None:
    if time is None:
        return
    try:
        negative = (Timer(time).time_remaining() or 0) < 0
    except (MisconfigurationException, TypeError, ValueError, OverflowError):
        negative = True
    if negative:
        raise UserError(
            f"--max_time {time}: expected DD:HH:MM:SS, such as 00:01:30:00,\n"
            "or in YAML {hours: 1, minutes: 30}"
        )


def check_objects(built: Objects, config: Namespace, checkpoint: Mapping[str, Any]) -> None:
    """Raises `UserError` for what can't go together, before anything is written."""
    model, data = built.model, built.datamodule
    check_accelerator(config.trainer.accelerator)
    model_of(model).check(data)
    for flag, least in LEAST.items():
        value = config.trainer[flag]
        if isinstance(value, int | float) and not value >= least:  # nan, too
            raise UserError(f"--{flag} is {value}; expected at least {least}")
    _check_max_time(config.trainer.max_time)
    for callback in built.trainer_arguments.callbacks or []:
        if isinstance(patience := getattr(callback, "patience", 0), int) and patience < 0:
            raise UserError(f"{type(callback).__name__}: patience {patience}; expected at least 0")
    workers = getattr(data, "num_workers", 0)
    for flag, count in (("devices", config.trainer.devices), ("num_workers", workers)):
        if str(count).isdigit() and int(count) > PER_CORE * (os.cpu_count() or 1):
            raise UserError(f"--{flag} {count} are too many processes for {os.cpu_count()} cores")
    if checkpoint:
        check_weights(model, checkpoint["state_dict"])
