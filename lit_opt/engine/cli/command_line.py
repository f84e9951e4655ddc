"""Words to a configuration: default < data < checkpoint < configs in their order < flags."""

import importlib
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_opt.engine.base.allowed_imports import limit_imports, missing_module
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.cli.arguments import expand_flags
from lit_opt.engine.cli.config_file import expand_mapping
from lit_opt.engine.cli.config_layers import leave_defaults, written
from lit_opt.engine.cli.messages import REQUIRED, argument_of
from lit_opt.engine.cli.named_objects import check_named_objects
from lit_opt.engine.cli.option_values import METRICS, dump, join_arguments
from lit_opt.engine.cli.options import split_command
from lit_opt.engine.cli.parser import options_of, parser_of
from lit_opt.engine.cli.precision import fast_precision
from lit_opt.engine.cli.program import Program
from lit_opt.engine.loading.sizes import takes_any

PRINT = "--print_config"
LOSS = "--model.loss."
NET = "--model.net."
# Sizes that a net may require, until the data tells them.
UNKNOWN_SIZES = {"in_shape": "[1, 1, 1]", "in_channels": "1", "in_chans": "1", "num_classes": "1"}


class CommandLine:
    """One command, and the configuration that its words give over weaker layers.

    Args:
        program: Its classes and its defaults.
        words: The words after `train.py`.
    """

    def __init__(self, program: Program, words: list[str]) -> None:
        self.command, given = split_command(words)
        self.model_class = _imported(program.model, LightningModule)
        self.data_class = _imported(program.data, LightningDataModule)
        if program.chosen == {"model"} and _has_loaders(self.model_class):
            self.data_class = None  # the program's is for its own model
        limit_imports()
        self.parser = parser_of(self.command, self.model_class, self.data_class)
        self.options = options_of(self.parser, self.model_class, self.data_class)
        self._set_defaults(dict(program.defaults), strict=not program.chosen)
        self.flags = expand_flags(given, self.options)
        self.own_metrics = bool({"metrics", METRICS} & {*program.defaults})
        self.label = _run_label(words)
        self.assumed: dict[str, str] = {}  # flags of sizes that the data will tell
        self.chosen = {
            group: cls
            for group, cls in (("model", self.model_class), ("data", self.data_class))
            if group in program.chosen and cls
        }
        # Without a command, the best checkpoint is validated and tested after the fit.
        self.layers: list[dict[str, Any]] = [{"test": True}] if given is words else []

    def _set_defaults(self, defaults: dict[str, Any], strict: bool) -> None:
        if not strict:  # they are those of other classes
            defaults = {key: v for key, v in defaults.items() if self.options.is_known(key)}
        for name, value in expand_mapping(defaults, self.options).items():
            of_group = name in self.options.groups
            named = {f"{name}.{key}": v for key, v in value.items()} if of_group else {name: value}
            self.parser.set_defaults(named)

    def imply(self, options: dict[str, Any]) -> None:
        """Options of the model that the data implies, under all that is given.

        Metrics among the program's defaults are what its author wants, whatever the data is.
        """
        if self.own_metrics:
            options = {key: value for key, value in options.items() if key != "metrics"}
        self.layers.insert(0, {"model": options})

    def parse(self, last: bool = False) -> Namespace:
        """The configuration that the layers and the flags give.

        Arguments of the loss are left to the last layer: the data may imply which loss it is.
        """
        later = (PRINT,) if last else (PRINT, LOSS)
        config = self._parse([flag for flag in self.flags if not flag.startswith(later)])
        leave_defaults(config)
        if METRICS in self.options.specs:
            config.model.metrics = join_arguments(config.model.metrics)
        seed = config.seed_everything
        if not isinstance(seed, bool) and not 0 <= seed < 2**32:
            raise UserError(f"--seed {seed}: expected a number from 0 to {2**32 - 1}")
        check_named_objects(config.as_dict())
        if config.trainer.precision == "auto":
            kept = [layer.get("trainer", {}).get("precision") for layer in self.layers]  # a resume
            fast = fast_precision(config.trainer.accelerator)
            config.trainer.precision = next(filter(None, reversed(kept)), fast)
        return config

    def parse_without_layers(self) -> Namespace:
        """What decides which run or checkpoint it is about, whose options are layers under these.

        An argument of an object that only those options name, such as a callback, may wait.
        """
        try:
            return self.parse()
        except UserError:
            if not any(flag.startswith(("--resume", "--ckpt_path")) for flag in self.flags):
                raise
        whole = self.flags
        try:
            self.flags = [flag for flag in whole if flag.partition("=")[0].count(".") < 2]
            return self.parse()
        finally:
            self.flags = whole

    def _parse(self, flags: list[str]) -> Namespace:
        configs = [f"--config={dump(layer)}" for layer in self.layers]
        try:
            return self.parser.parse_args([*configs, *flags])
        except UserError as error:
            required = REQUIRED.search(str(error))
            if required and (size := UNKNOWN_SIZES.get(required[1])):
                self.assumed[required[1]] = f"{NET}{required[1]}={size}"
                if self.assumed[required[1]] not in flags:
                    return self._parse([*flags, self.assumed[required[1]]])
            if self._name_the_flag(error, flags):
                return self._parse(self._as_keywords(argument_of(error)[0], flags))
            raise

    def _as_keywords(self, name: str, flags: list[str]) -> list[str]:
        """`--model.net.NAME=…` for a factory's **kwargs, as jsonargparse wants it."""
        within, end = f"{NET}{name}", len(NET)
        return [
            f"{NET}dict_kwargs.{flag[end:]}" if flag.startswith(within) else flag for flag in flags
        ]

    def _name_the_flag(self, error: UserError, flags: list[str]) -> bool:
        """Raises an error that names the flag whose inner argument jsonargparse names.

        True if it is one of a net's factory that takes **kwargs.
        """
        name, unknown = argument_of(error)
        wrong = [flag for flag in flags if flag.partition("=")[0].endswith(f".{name}")]
        if not name or not wrong:
            return False
        flag = wrong[0].partition("=")[0]
        if not unknown:
            raise UserError(f"{flag}{str(error)[len(name) + 2 :]}") from error
        owner = self._parse([flag for flag in flags if flag not in wrong])[
            flag[2:].rpartition(".")[0]
        ]
        if flag == NET + name and takes_any(owner.class_path):
            return True
        raise UserError(f"unknown argument {wrong[0]}; {_taken_by(owner)}") from error

    def run_name(self, config: Namespace) -> str | None:
        """What `--name` says, to the letter; YAML would read `null` and `#1` as nothing.

        Raises:
            UserError: if it can't be the name of a folder in `runs/`.
        """
        words = [flag.partition("=")[2] for flag in self.flags if flag.startswith("--name=")]
        name: str | None = words[-1] if words else config.name
        if name is not None and (name == "null" or not re.fullmatch(r"\w[\w .,=+@-]*", name)):
            raise UserError(
                f"--name {name!r} is no name of a run;\n"
                "expected letters, digits and any of _ . , = + @ - such as first-try"
            )
        return name

    def label_of(self, config: Namespace) -> str:
        """What an unnamed run is called: after its config, its data set or its model."""
        dataset = (config.get("data", {}).get("dataset") or {}).get("class_path")
        named: str = dataset or self.model_class.__name__
        return self.label or named.rpartition(".")[2].lower()

    def dump(self, config: Namespace, **options: bool) -> str:
        """The configuration as YAML."""
        text = self.parser.dump(config, skip_none=False, skip_validation=True, **options)
        return written(text, config.as_dict())

    def print_if_asked(self, config: Namespace) -> None:
        """Prints it and exits, where a word is `--print_config`; =skip_default leaves those out."""
        words = [flag for flag in self.flags if flag.startswith(PRINT)]
        if words:
            print(self.dump(config, skip_default="skip_default" in words[-1]), end="")
            raise SystemExit(0)


def _imported(cls: type | str | None, base: type) -> Any:
    """The class; nothing but a subclass of `base` is built, as a config may have named it."""
    if not isinstance(cls, str):
        return cls
    module, _, name = cls.rpartition(".")
    if missing := missing_module(cls):
        raise UserError(missing)
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not module.startswith(str(error.name)):  # it is one that the user's module imports
            raise
        raise UserError(f"{cls}: {error}; expected the import path of a class") from error
    if (found := getattr(home, name, None)) is None:
        raise UserError(f"{cls}: {module} has no {name}")
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"{cls} is no subclass of {base.__name__}")
    return found


def _has_loaders(model_class: type) -> bool:
    has: bool = is_overridden("train_dataloader", model_class, LightningModule)
    return has


def _run_label(words: list[str]) -> str | None:
    """What an unnamed run is called: after the last `--config`, or the run that it is of."""
    files = [b for a, b in pairwise(words) if a in ("--config", "-c")]
    files += [word.partition("=")[2] for word in words if word.startswith("--config=")]
    if not files:
        return None
    path = Path(files[-1]).absolute()
    return path.parent.name if path.stem == "config" else path.stem


def _taken_by(owner: Any) -> str:
    """`MLP takes in_shape, num_classes`, of the last one where there are several."""
    spec = owner[-1] if isinstance(owner, list) and owner else owner
    if not spec:
        return "name the class that takes it first"
    taken = ", ".join(spec.get("init_args", Namespace()).keys()) or "no arguments"
    return f"{spec.class_path.rpartition('.')[2]} takes {taken}"
