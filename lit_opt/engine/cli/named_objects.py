"""What configurations and checkpoints may name: parts of a training, and nothing that just runs.

An option that takes a function or any callable would otherwise build `{class_path: torch.load, …}`
by calling it, out of a config or checkpoint of somebody else's.
"""

import re
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment, Precision
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lit_opt.engine.base.allowed_imports import OWN, PACKAGES, is_allowed
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading.source import Source

PARTS: tuple[type, ...] = (
    nn.Module,
    Optimizer,
    LRScheduler,
    Source,
    Callback,
    Logger,
    LightningDataModule,
)
PARTS += (Profiler, Strategy, Accelerator, CheckpointIO, ClusterEnvironment, Precision, LayerSync)
# Where functions of libraries are taken from: losses, activations, initial weights, nets.
FUNCTIONS: tuple[str, ...] = (
    "torch.nn.functional",
    "torch.nn.init",
    "torchvision.models",
    "torchvision.ops",
)
FUNCTIONS += ("torchmetrics.functional",)
PATH = re.compile(r"[A-Za-z_]\w*([.:]\w+)+")


def check_named_objects(value: Any, option: str = "") -> None:
    """Raises `UserError` for a class or function that is not for a training.

    Classes must be subclasses of `PARTS` (metrics are modules), functions be of `FUNCTIONS`. What
    is defined in a package that the user has allowed is the user's own code and may be anything.

    Args:
        value: A configuration or a value in it, searched at any depth.
        option: Its full name, for the message.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            check_named_objects(inner, f"{option}.{key}" if option else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            check_named_objects(inner, option)
    else:
        named = _named(value)
        if named is not None and not (_is_users(named) or _is_part(named)):
            raise UserError(
                f"--{option}: {_path(value)} is not built or called from a configuration;\n"
                f"expected a subclass of {', '.join(part.__name__ for part in PARTS[:7])}, …,\n"
                f"or a function of {', '.join(FUNCTIONS[:4])} or a package of yours"
            )


def _named(value: Any) -> Any:
    """The class or function that a value is or names, else None."""
    if not isinstance(value, str):
        return value if callable(value) else None
    if not PATH.fullmatch(value) or not is_allowed(value):
        return None
    try:
        named = resolve_name(value)
    except (ImportError, AttributeError, ValueError):
        return None
    return named if callable(named) else None


def _path(value: Any) -> str:
    return value if isinstance(value, str) else f"{_home(value)}.{value.__name__}"


def _home(named: Any) -> str:
    return getattr(named, "__module__", None) or ""


def _is_users(named: Any) -> bool:
    """Whether it is defined beside the engine, or in what `--allow` or `train.py` names."""
    package, _, inside = _home(named).partition(".")
    if package == OWN:
        return inside.partition(".")[0] not in ("", "engine")
    return package not in PACKAGES and is_allowed(_home(named))


def _is_part(named: Any) -> bool:
    if isinstance(named, type):
        return issubclass(named, PARTS)
    if isinstance(named, nn.Module):
        return True
    return any(_home(named) == home or _home(named).startswith(f"{home}.") for home in FUNCTIONS)
