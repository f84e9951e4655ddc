"""The parser of a command: what options there are, and which names of classes they take."""

from importlib.util import find_spec
from typing import Literal, NoReturn, get_type_hints

import torch
from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]
from jsonargparse.typing import register_type
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from torch import Tensor

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.cli.messages import short_error
from lit_opt.engine.cli.option_values import METRICS, SPECS
from lit_opt.engine.cli.options import Options
from lit_opt.engine.lightning_private import help_with_short_names

# Such as a loss's class weights, which are written as a list.
register_type(
    Tensor,
    serializer=Tensor.tolist,
    deserializer=lambda value: torch.as_tensor(value, dtype=torch.float32),
    type_check=lambda value, _: isinstance(value, Tensor),
)
USAGE = "python train.py [command] [--option value ...]"
ENGINE = __name__.rpartition(".cli.")[0]


class Parser(LightningArgumentParser):
    """Errors of one to four lines instead of the usage of a hundred options."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(short_error(message)) from ex


def parser_of(command: str, model_class: type, data_class: type | None) -> Parser:
    parser = Parser(formatter_class=help_with_short_names(), usage=USAGE)
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="A YAML file of options.")
    _add_options_of_all(parser)
    if command == "fit":
        _add_options_of_fit(parser)
    _add_trainer(parser)
    parser.add_lightning_class_args(model_class, "model")
    if data_class:
        parser.add_lightning_class_args(data_class, "data")
    # A subclass may pass it on by **kwargs, which its signature doesn't tell.
    if "model.monitor" not in parser.get_defaults():
        _add_monitor(parser)
    return parser


def _add_options_of_all(parser: Parser) -> None:
    parser.add_argument(
        "--seed_everything", type=bool | int, default=42, help="Seed of all random numbers."
    )
    parser.add_argument("--name", type=str | None, help="Name of the run, its folder is runs/NAME.")
    parser.add_argument(
        "--ema",
        type=float | None,
        help="Decay, such as 0.999, of an exponential moving average of the weights, which is "
        "then what is validated, tested and kept. Default: none.",
    )
    parser.add_argument(
        "--compile",
        type=bool | Literal["default", "reduce-overhead", "max-autotune"],
        default=False,
        help="Compile the net with torch.compile before a fit: true, or a mode; "
        "reduce-overhead captures CUDA graphs.",
    )
    parser.add_argument(
        "--ckpt_path",
        type=str | None,
        help="Checkpoint to continue from, or to validate, test or predict with.",
    )
    parser.add_argument(
        "--save_every",
        type=int | str | None,
        help="Steps, such as 1000, or a time, 90s, 10m or 1h, after which last.ckpt is written "
        "inside an epoch, too.",
    )


def _add_trainer(parser: Parser) -> None:
    options = {"fail_untyped": False, "instantiate": False, "sub_configs": True}
    parser.add_class_arguments(Trainer, "trainer", skip={"precision"}, **options)
    parser.add_argument(
        "--trainer.precision",
        type=Literal["auto"] | get_type_hints(Trainer.__init__)["precision"],
        help="32-true, 64-true, bf16-mixed, 16-mixed, bf16-true or 16-true; auto is bf16-mixed "
        "where the GPU or processor has instructions for it, else 32-true. Default: 32-true.",
    )
    parser.set_defaults({"trainer.enable_model_summary": False})


def _add_options_of_fit(parser: Parser) -> None:
    parser.add_argument(
        "--test",
        type=bool,
        default=False,
        help="Validate and test the best checkpoint after fit (default without a command).",
    )
    parser.add_argument(
        "--resume",
        type=bool,
        default=False,
        help="Go on with the run --name, or the one saved last, from its newest checkpoint "
        "and with its options; a --name that is not there yet is started.",
    )


def _add_monitor(parser: Parser) -> None:
    parser.add_argument(
        "--monitor",
        type=str | None,
        help="Validation metric that selects the best checkpoint. Default: val/loss, val_loss or "
        "the like, whatever the module logs.",
    )
    parser.add_argument(
        "--monitor_mode",
        type=Literal["min", "max"] | None,
        help="Whether a small or a large one is better. Default: as its name tells.",
    )


def options_of(parser: Parser, model_class: type, data_class: type | None) -> Options:
    """The names of all options, and the modules whose classes go by their bare names."""
    defaults = parser.get_defaults()
    keys = list(defaults.keys())  # a Namespace is no mapping
    switches = {key for key in keys if isinstance(defaults[key], bool)}
    homes = {
        "model.net": _beside(model_class, "models"),
        "model.loss": ["torch.nn", *_beside(model_class, "losses")],
        "data.dataset": _beside(data_class, "sources"),
        "data.transforms": ["torchvision.transforms.v2"],
        "data.eval_transforms": ["torchvision.transforms.v2"],
        "trainer.callbacks": [f"{ENGINE}.callbacks", "lightning.pytorch.callbacks"],
        "trainer.logger": ["lightning.pytorch.loggers"],
    }
    names = {".".join(key.split(".")[:2]) for key in keys}
    homes = {name: modules for name, modules in homes.items() if name in names}
    specs = {*SPECS, METRICS} if hasattr(model_class, "optimizers_for") else set()
    groups = {"trainer", "model", "data", "help", "print_config"}
    return Options({*names, *groups}, homes, specs, switches)


def _beside(cls: type | None, name: str) -> list[str]:
    """The modules `name` in the packages of a class and of those that it derives from."""
    classes = cls.__mro__ if cls else ()
    packages = dict.fromkeys(c.__module__.rpartition(".")[0] for c in classes)
    return [f"{package}.{name}" for package in packages if package and _is_there(package, name)]


def _is_there(package: str, name: str) -> bool:
    try:
        return find_spec(f"{package}.{name}") is not None
    except ModuleNotFoundError:  # a module that is no package
        return False
