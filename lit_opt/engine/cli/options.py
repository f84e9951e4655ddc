"""Commands and options, before anything heavy is imported."""

import ast
import difflib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from lit_opt.engine.errors import UserError

COMMANDS = ("fit", "validate", "test", "predict")
SYNONYMS = {"epochs": "max_epochs", "seed": "seed_everything", "c": "config", "h": "help"}
OF_COMMANDS = {
    "config",
    "help",
    "print_config",
    "seed_everything",
    "name",
    "ckpt_path",
    "ema",
    "compile",
}


class Options:
    """The options of a command.

    Args:
        names: Full names, such as `trainer.accelerator`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = {name for name in names if name}
        self.groups = sorted({name.split(".")[0] for name in self.names if "." in name})

    def full(self, flag: str) -> str:
        """`accelerator` -> `trainer.accelerator`, `net.hidden` -> `model.net.hidden`."""
        first, *rest = flag.split(".")
        first = SYNONYMS.get(first, first)
        if first in self.groups:
            known = ".".join([first, *rest[:1]])
            if rest and known not in self.names:
                raise UserError(f"unknown option --{flag}{self.nearest(known)}")
            return flag
        owners = self._owners(first)
        if len(owners) > 1:
            names = " and ".join(f"--{_join(group, flag)}" for group in owners)
            raise UserError(f"--{flag} is ambiguous: {names} exist; write the one you mean")
        if not owners:
            raise UserError(f"unknown option --{flag}{self.nearest(flag)}")
        return _join(owners[0], ".".join([first, *rest]))

    def _owners(self, name: str) -> list[str | None]:
        return [group for group in (None, *self.groups) if _join(group, name) in self.names]

    def short(self, name: str) -> str:
        """`trainer.accelerator` -> `accelerator` where no other group has that name."""
        last = name.split(".", 1)[-1]
        return last if len(self._owners(last)) == 1 else name

    def nearest(self, flag: str) -> str:
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


def check_names(words: list[str]) -> None:
    """Finds a misspelt command or option at once."""
    command, options = split_command(words)
    known = options_in_the_sources(command)
    for word in filter(is_flag, options):
        known.full(word.lstrip("-").partition("=")[0].rstrip("+"))


def options_in_the_sources(command: str) -> Options:
    """The options of `command`, read off the classes' text: importing them takes seconds."""
    here = Path(__file__).parents[2]
    lightning = Path(str(getattr(find_spec("lightning"), "origin", ""))).parent
    classes = {
        "trainer": (lightning / "pytorch/trainer/trainer.py", "Trainer"),
        "model": (here / "module.py", "LitModule"),
        "data": (here / "datamodule.py", "ImageData"),
    }
    names = OF_COMMANDS | ({"test", "no_test", "resume"} if command == "fit" else set())
    for group, (path, name) in classes.items():
        names |= {group, *(f"{group}.{argument}" for argument in _arguments(path, name))}
    return Options(names)


def _arguments(path: Path, name: str) -> list[str]:
    """The names that a class's `__init__` takes."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    taken = [*item.args.args, *item.args.kwonlyargs]
                    return [argument.arg for argument in taken if argument.arg != "self"]
    return []
