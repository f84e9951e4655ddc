"""Classes named in hyperparameters: `{"name": "SGD", "momentum": 0.9}`, or the bare name.

The name is a class of torch.optim or of torch.optim.lr_scheduler, whatever its case and with or
without its LR (`adam`, `cosine_annealing`, `OneCycleLR`), or the import path of a class of your
own. The other keys are the class's arguments. A mistake of the user raises `UserError`.
"""

import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim import lr_scheduler

from lit_opt.engine.base.allowed_imports import check_import
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.name_matching import comparable, nearest
from lit_opt.engine.optim.argument_values import checked

Spec = str | Mapping[str, Any]


def parse(spec: Spec, flag: str, base: type) -> tuple[type[Any], dict[str, Any]]:
    """The class that a spec names, and its arguments; the lists of a YAML file become tuples."""
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    cls = _find(str(given.pop("name", "")), flag, base)
    return cls, {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}


def _find(name: str, flag: str, base: type) -> type[Any]:
    if "." in name:
        check_import(name, f"--{flag}")
        try:
            cls = pkgutil.resolve_name(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(f"--{flag} {name} can't be imported: {error}") from error
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise UserError(f"--{flag} {name} is no subclass of {base.__name__}")
        return cls
    known = {
        comparable(key): value
        for key, value in {**vars(torch.optim), **vars(lr_scheduler)}.items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    }
    if not name:
        raise UserError(f"--{flag} has arguments but no name; set --{flag} to one, or `name` in it")
    if comparable(name) not in known:
        near = _nearest(name, [cls.__name__ for cls in known.values()])
        raise UserError(f"no {flag} is called {name!r}; set --{flag} to {near} or an import path")
    return known[comparable(name)]


def _nearest(name: str, names: Iterable[str]) -> str:
    """Up to three names that are like `name`; all names if none is like it."""
    names = set(names)
    return ", ".join(nearest(name, sorted(names)) or sorted(names))


def construct(
    cls: type[Any], flag: str, first: Any, given: dict[str, Any], ours: dict[str, Any]
) -> Any:
    """`cls(first, **ours, **given)`; raises `UserError` where the spec gives one of `ours`."""
    _check_arguments(cls, flag, given, ours)
    try:
        return cls(first, **ours, **given)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in {**ours, **given}.items())
        raise UserError(f"--{flag} {cls.__name__}({shown}): {error}") from error


def _check_arguments(
    cls: type[Any], flag: str, given: dict[str, Any], ours: dict[str, Any]
) -> None:
    parameters = list(inspect.signature(cls).parameters.values())[1:]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    known = named.keys() - ours.keys() - {"last_epoch"}
    for key in given:
        if key in ours:
            owner = "--lr" if "lr" in key else "--warmup"
            raise UserError(f"leave out --{flag}.{key}: {owner} sets it")
        if key not in known and not open_ended:
            near = _nearest(key, known)
            raise UserError(f"{cls.__name__} has no {key!r}; --{flag}.KEY can be {near}")
        if key in named:
            given[key] = checked(cls, flag, key, named[key].annotation, given[key])
    for key in known - given.keys():
        if named[key].default is inspect.Parameter.empty:
            raise UserError(f"{cls.__name__} needs {key}: set --{flag}.{key}")
