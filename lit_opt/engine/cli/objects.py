"""A configuration to the model, the data and the arguments of the Trainer."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.messages import refused_object
from lit_opt.engine.errors import UserError
from lit_opt.engine.optim.plan import Plan
from lit_opt.engine.tasks.metrics import Scores
from lit_opt.engine.tasks.net_check import check_loss, check_net, check_takes

# Smaller ones end in an error of arithmetic after the first steps, or do something else in silence.
LEAST = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "val_check_interval": 1e-9}
LEAST |= {"log_every_n_steps": 0, "gradient_clip_val": 0, "min_epochs": 0, "min_steps": 0}
PER_CORE = 16  # processes; more are a slip of the finger, and would take the machine down


class Objects(LightningCLI):
    """Lightning's CLI from a configuration on: seeds, then builds all but the Trainer.

    It gives the model and the data the hyperparameters that `save_hyperparameters` keeps, as they
    stand in the configuration, so that `load_from_checkpoint` can build them again.

    Args:
        line: Whose parser and classes are used.
        config: What it parsed.

    Raises:
        UserError: for a value that a net, a loss or a callback refuses.
    """

    model: Any  # yours, with all that its class has
    datamodule: Any

    def __init__(self, line: CommandLine, config: Namespace) -> None:
        self.line, self.given = line, config
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
            built = self.parser.instantiate_classes(self.config)
        except (ValueError, TypeError) as error:
            raise UserError(refused_object(str(error))) from error
        self.model, self.datamodule, self.trainer_arguments = built.model, built.data, built.trainer

    @property
    def validates(self) -> bool:
        """Whether a fit is validated."""
        return self.trainer_arguments.limit_val_batches != 0 and self.datamodule.has_validation


def build_data(line: CommandLine, config: Namespace) -> Any:
    """The data module alone, to ask what the net must fit before the net is built."""
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


def check_targets(model: Any, data: Any) -> None:
    """Raises `UserError` if net, loss or metrics are not for what the data's targets are."""
    (x, y), num = data.example(), data.num_classes
    loss = model.loss.loss
    check_loss(loss, data.targets, num)
    outputs = check_net(model.net, x, data.targets.shape_of_outputs(num, y.shape[1:]), num)
    model.loss.follow(data.targets)
    check_takes(f"--loss {getattr(loss, '__name__', type(loss).__name__)}", model.loss, outputs, y)
    for name, metric in model.val_scores.clone().items(keep_base=True, copy_state=False):
        one = Scores({name: metric}, prefix="")
        one.follow(data.targets, None)
        update = partial(one.update, loss=outputs.sum())
        check_takes(f"--metrics: {name}, {type(metric).__name__},", update, outputs, y)


def check_objects(built: Objects, config: Namespace, checkpoint: Mapping[str, Any]) -> None:
    """Raises `UserError` for what can't go together, before anything is written."""
    model, data = built.model, built.datamodule
    check_accelerator(config.trainer.accelerator)
    check_targets(model, data)
    for flag, least in LEAST.items():
        value = config.trainer[flag]
        if isinstance(value, int | float) and value < least:
            raise UserError(f"--{flag} is {value}; expected at least {least}")
    for flag, count in (("devices", config.trainer.devices), ("num_workers", data.num_workers)):
        if str(count).isdigit() and int(count) > PER_CORE * (os.cpu_count() or 1):
            raise UserError(f"--{flag} {count} are too many processes for {os.cpu_count()} cores")
    _, schedulers = model.optimizers_for(Plan(total_steps=1000, max_epochs=10))
    plateau = any(isinstance(s["scheduler"], ReduceLROnPlateau) for s in schedulers)
    if plateau and not data.has_validation:
        raise UserError("ReduceLROnPlateau needs a validation; set --val_fraction above 0")
    if checkpoint:
        check_weights(model, checkpoint["state_dict"])
