"""Commands and the names of options, before anything heavy is imported."""

import ast
import difflib
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from lit_opt.engine.base.errors import UserError

COMMANDS = ("fit", "validate", "test", "predict")
SYNONYMS = {"epochs": "max_epochs", "seed": "seed_everything", "c": "config", "h": "help"}
# What every command has beside the arguments of the trainer, the model and the data.
EVERYWHERE = {"config", "help", "print_config", "seed_everything", "name", "ckpt_path"}
EVERYWHERE |= {"ema", "compile", "save_every"}
OF_FIT = {"test", "no_test", "resume"}
# What a module has that doesn't say itself which checkpoint is the best.
OF_OTHER_MODULES = {"monitor", "monitor_mode"}


class Options:
    """The options of a command.

    Args:
        names: Full names, such as `trainer.accelerator`.
        homes: For options whose value may be the bare name of a class: the modules that have it.
        specs: Options of `LitModule` that are given as {"name": …, argument: …}.
        switches: Options that are true where they stand without a value.
    """

    def __init__(
        self,
        names: Iterable[str],
        homes: Mapping[str, Sequence[str]] | None = None,
        specs: Iterable[str] = (),
        switches: Iterable[str] = (),
    ) -> None:
        self.names = {name for name in names if name}
        self.homes = homes or {}
        self.specs, self.switches = set(specs), set(switches)
        self.groups = sorted({name.split(".")[0] for name in self.names if "." in name})

    def full(self, flag: str) -> str:
        """`accelerator` -> `trainer.accelerator`, `net.hidden` -> `model.net.hidden`."""
        first, *rest = flag.split(".")
        first = SYNONYMS.get(first, first)
        if first in self.groups:
            known = ".".join([first, *rest[:1]])
            if rest and known not in self.names:
                raise UserError(f"unknown option --{flag}{self.suggest(known)}")
            return flag
        owners = self._owners(first)
        if None in owners:  # it has no longer name; that of a user's class has
            owners = [None]
        if len(owners) > 1:
            names = " and ".join(f"--{_join(group, flag)}" for group in owners)
            raise UserError(f"--{flag} is ambiguous: {names} exist; write the one you mean")
        if not owners:
            raise UserError(f"unknown option --{flag}{self.suggest(flag)}")
        return _join(owners[0], ".".join([first, *rest]))

    def _owners(self, name: str) -> list[str | None]:
        return [group for group in (None, *self.groups) if _join(group, name) in self.names]

    def is_known(self, flag: str) -> bool:
        return bool(self._owners(flag.split(".")[0]))

    def short(self, name: str) -> str:
        """`trainer.accelerator` -> `accelerator` where no other group has that name."""
        last = name.split(".", 1)[-1]
        return last if len(self._owners(last)) == 1 else name

    def suggest(self, flag: str) -> str:
        """The end of an error: the option whose name is most like `flag`."""
        known = {self.short(name) for name in self.names} | self.names
        match = difflib.get_close_matches(flag, sorted(known), n=1)
        return f"; did you mean --{match[0]}?" if match else "; --help lists the options"


def split_command(words: list[str]) -> tuple[str, list[str]]:
    """The command and its options; without a command it is `fit`, whose --test is then true."""
    if not words or words[0].startswith("-"):
        return "fit", words
    if words[0] not in COMMANDS:
        raise UserError(f"no command {words[0]!r}; the commands are {', '.join(COMMANDS)}, or none")
    return words[0], words[1:]


def is_flag(word: str) -> bool:
    return word.startswith("--") or word in ("-c", "-h")


def _join(group: str | None, name: str) -> str:
    return f"{group}.{name}" if group else name


def check_spelling(words: list[str], model: type | str, data: type | str | None) -> None:
    """Raises `UserError` for a misspelt command or option, in a tenth of a second.

    The names are read off the text of the classes, as to import them takes seconds. Classes that
    are imported already, or inherit their constructor, are left to the parser.
    """
    command, flags = split_command(words)
    if isinstance(model, str) and isinstance(data, str):
        known = options_in_the_sources(command, model, data)
        for word in filter(is_flag, flags):
            if known:
                known.full(word.lstrip("-").partition("=")[0].rstrip("+"))


def options_in_the_sources(command: str, model: str, data: str) -> Options | None:
    """The options of `command`, None if a class states no constructor in its own file.

    `model` and `data` are the import paths of classes.
    """
    lightning = Path(str(getattr(find_spec("lightning"), "origin", ""))).parent
    names = EVERYWHERE | (OF_FIT if command == "fit" else set())
    classes = {"trainer": (lightning / "pytorch/trainer/trainer.py", "Trainer")}
    for group, path in (("model", model), ("data", data)):
        module, _, name = path.rpartition(".")
        classes[group] = (Path(str(getattr(find_spec(module), "origin", ""))), name)
    for group, (file, name) in classes.items():
        taken = _constructor_takes(file, name)
        if taken is None:
            return None
        names |= {group, *(f"{group}.{argument}" for argument in taken)}
    if "model.monitor" not in names:
        names |= OF_OTHER_MODULES
    return Options(names)


def _constructor_takes(path: Path, name: str) -> list[str] | None:
    """The arguments of the class `name` in the file `path`; None if that doesn't tell them all."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    if item.args.kwarg:  # it passes on what the class above it takes
                        return None
                    taken = [*item.args.args, *item.args.kwonlyargs]
                    return [argument.arg for argument in taken if argument.arg != "self"]
    return None
