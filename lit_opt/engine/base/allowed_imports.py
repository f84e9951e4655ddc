"""Importing a module runs its code: what configs, checkpoints and flags may name is limited.

Whatever else they name is refused before it is imported. Only `train.py` and the command line can
allow more, by `--allow` or by an option that names a class of the package; a config can not.
"""

import difflib
import re
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules

from lit_opt.engine.base.errors import UserError

OWN = __name__.partition(".")[0]
# In two parts: it stays lit-opt's where the package has another name, in a project made from it.
TEMPLATE = "lit_" + "opt"
PACKAGES = ("torch", "torchvision", "torchmetrics", "lightning", OWN, "sklearn")
_allowed = {*PACKAGES, "__main__"}  # the program itself runs already
# Options whose values may look like import paths and are names of files.
FILE_OPTIONS = ("config", "c", "ckpt_path", "name", "data_dir", "default_root_dir")
IMPORT_PATH = re.compile(r"(?<![\w.:/-])([A-Za-z_]\w*)(?:[.:][A-Za-z_]\w*)+(?![\w/-])")


def split_flag(words: list[str], name: str) -> tuple[list[str], list[str]]:
    """The values of a flag such as `--allow`, which is no key of a config; the words without it."""
    values: list[str] = []
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag == name:
            values.append(value if equals else next(rest, ""))
        else:
            others.append(word)
    return values, others


def allow(names: Iterable[str]) -> None:
    """Lets values name what is in these packages or modules, from now on in this process.

    Raises:
        UserError: if a name is none of a package or module, or is that of the parser itself.
    """
    for name in names:
        parts = name.split(".")
        if not all(part.isidentifier() for part in parts) or parts[0] == "jsonargparse":
            raise UserError(f"--allow {name!r}: expected the name of a package, such as my_package")
        _allowed.add(name)


def packages_in_flags(words: Iterable[str]) -> set[str]:
    """The packages that lie here and are named by options, such as `--net my_package.Net`.

    Not those of Python itself, folders without an `__init__.py`, or names of files: `data.csv`
    must not let a config import `data.py`.
    """
    found, flag = set(), ""
    for word in words:
        if word.startswith("-"):
            flag, _, word = word.lstrip("-").partition("=")
        if flag.rpartition(".")[2] not in FILE_OPTIONS and not Path(word[:60]).exists():
            found |= packages_in_text(word)
    return found


def packages_in_text(text: str) -> set[str]:
    return set(filter(None, (package_of(match[0]) for match in IMPORT_PATH.finditer(text))))


def package_of(path: str) -> str | None:
    """The package or module here whose part an import path names; None for a folder like `runs`.

    Of a package without `__init__.py`, the module or package in it. None for Python's own, too.
    """
    parts = path.replace(":", ".").split(".")
    if parts[0] in {
        *sys.stdlib_module_names,
        *sys.builtin_module_names,
        "jsonargparse",
        "__main__",
    }:
        return None
    for length in range(1, len(parts)):
        name = ".".join(parts[:length])
        try:
            spec = find_spec(name)  # imports nothing, as what is around has no code
        except (ValueError, ImportError):  # a module that was made by hand
            return None
        if spec is None or spec.has_location:
            return name if spec else None
    return None


def allowed_here() -> list[str]:
    """What may be named in this process beside the packages that always may."""
    return sorted(_allowed - {*PACKAGES, "__main__"})


def limit_imports() -> None:
    """Makes jsonargparse refuse, before it imports, what is not allowed by now.

    It does not build objects where any value is taken either: `{class_path: torch.load, …}` among
    an optimizer's arguments would be called.
    """
    from jsonargparse import set_parsing_settings

    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=sorted(_allowed),
        instantiate_subclass_spec_in_any=False,
    )


def is_allowed(path: str) -> bool:
    """Whether an import path lies in what may be named by now."""
    parts = path.replace(":", ".").split(".")
    return any(".".join(parts[: i + 1]) in _allowed for i in range(len(parts)))


def check_import(path: str, option: str) -> None:
    """Raises `UserError` if `path`, the value of `option`, is not allowed."""
    if not is_allowed(path):
        raise UserError(f"{option}: {refusal(path)}")


def missing_module(path: str) -> str:
    """That the module of an import path is not there, and whose name is near; "" if it is."""
    package = path.replace(":", ".").partition(".")[0]
    if package in sys.modules or find_spec(package):
        return ""
    beside = [module.name for module in iter_modules([sys.path[0]])]
    near = difflib.get_close_matches(package, beside)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"{path}: there is no module {package}, beside train.py or installed{hint}"


def refusal(path: str) -> str:
    """What was refused and, unless it is Python's own such as `os`, how to allow it; two lines."""
    if missing := missing_module(path):
        return missing
    package = path.partition(".")[0]
    if package in sys.stdlib_module_names:
        return f"{path} is not imported; expected a class or function of {', '.join(PACKAGES)}"
    return (
        f"{path} is not imported, as that would run its code\n"
        f'if you trust {package}: allow=["{package}"] in train.py, or --allow {package}'
    )
