"""`--model my_pkg.MyModule --data my_pkg.MyData`: other classes than those that `train.py` states.

A config may name them too, by `model: my_pkg.MyModule` or in Lightning's form with `class_path` and
`init_args`; so does the config.yaml of a run that is resumed or whose checkpoint is given. They are
known before the rest of a command line is read, as they say what options there are.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from lit_opt.engine.base.allowed_imports import allow, check_import
from lit_opt.engine.cli.program import Program
from lit_opt.engine.runs.allowance import allowed_before

GROUPS = ("model", "data")
CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.\w+)+")


def choose_classes(program: Program, words: list[str]) -> tuple[Program, list[str]]:
    """The program with the classes that are named, and the words without the flags that do so.

    What a flag names is the user's own code, and may be imported; what a config names must be in a
    package that is allowed, or was when the run was started whose options are taken.

    Raises:
        UserError: if a config names a class of another package.
    """
    flagged, rest = _flagged(words)
    chosen: dict[str, str] = {}
    given = _values(words)
    runs = _run_folders(given)
    for path in [*(run / "config.yaml" for run in runs), *_configs(given)]:
        chosen |= _named_in(path)
    for run in runs:
        allow(allowed_before(run))
    for group, value in chosen.items():
        if group not in flagged:
            check_import(value, f"--{group}")
    allow(value.rpartition(".")[0] for value in flagged.values())
    chosen |= flagged
    stated = {"model": _class_path(program.model), "data": _class_path(program.data)}
    chosen = {group: path for group, path in chosen.items() if path != stated[group]}
    changed: dict[str, Any] = {**chosen, "chosen": frozenset(chosen)}
    return replace(program, **changed), rest


def _class_path(cls: type | str | None) -> str | None:
    return f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else cls


def _flagged(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """`--model PATH` and `--model=PATH`, the last one of several; a mapping is left alone."""
    flagged: dict[str, str] = {}
    rest: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        group = flag.removeprefix("--")
        value = value if equals else (words[0] if words else "")
        if flag.startswith("--") and group in GROUPS and CLASS_PATH.fullmatch(value):
            flagged[group] = value
            del words[: not equals]
        else:
            rest.append(word)
    return flagged, rest


def _values(words: list[str]) -> dict[str, list[str]]:
    """What stands after each flag."""
    given: dict[str, list[str]] = {}
    for word, after in zip(words, [*words[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        given.setdefault(flag, []).append(value if equals else after)
    return given


def _run_folders(given: dict[str, list[str]]) -> list[Path]:
    """Those of the runs that a command takes its options from, the weakest first."""
    folders = [Path(checkpoint).parent.parent for checkpoint in given.get("--ckpt_path", [])[-1:]]
    if "--resume" in given and "--name" in given:
        root = [".", *given.get("--default_root_dir", [])][-1]
        folders.append(Path(root, "runs", given["--name"][-1]))
    return folders


def _configs(given: dict[str, list[str]]) -> list[Path]:
    return [Path(path) for path in [*given.get("--config", []), *given.get("-c", [])]]


def _named_in(path: Path) -> dict[str, str]:
    """The classes that a config names; a file that can't be read is told when all of it is."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    named: dict[str, str] = {}
    for group in GROUPS if isinstance(content, dict) else ():
        value = content.get(group)
        value = value.get("class_path") if isinstance(value, dict) else value
        if isinstance(value, str) and CLASS_PATH.fullmatch(value):
            named[group] = value
    return named
