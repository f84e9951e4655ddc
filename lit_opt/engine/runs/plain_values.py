"""Checkpoints hold plain values, as nothing else is read back with `weights_only=True`."""

from collections import OrderedDict, deque
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_opt.engine.base.errors import RunError

KEPT = {bool, int, float, complex, str, bytes, bytearray, type(None)}
KEPT |= {torch.Size, torch.dtype, torch.device, torch.layout}
# Of numpy.float64, StrEnum and the like.
ORIGINS: tuple[Any, ...] = (bool, int, float, complex, str, bytes)
SEQUENCES = {tuple: tuple, set: set, frozenset: set, list: list, deque: list, range: list}
SAVED_BY_TORCH = "state_dict"  # weights, whose dict has attributes


def plain(value: Any, where: str = "") -> Any:
    """`value` of types that torch loads; tensors are the same objects.

    A numpy number becomes Python's, an array a tensor, a deque a list, a path a string, an enum its
    value, a dict of any kind a dict.

    Args:
        value: What is to be saved.
        where: Its place, such as `callbacks.Mine.history`, for the error.

    Raises:
        RunError: if something in it is of another type.
    """
    if type(value) in KEPT or type(value) in torch.serialization.get_safe_globals():
        return value
    if isinstance(value, Tensor):
        return value if type(value).__module__.startswith("torch") else value.as_subclass(Tensor)
    if isinstance(value, Mapping):
        kind: Any = OrderedDict if isinstance(value, OrderedDict) else dict
        items = ((plain(key, where), item) for key, item in value.items())
        named = ((key, f"{where}.{key}".lstrip("."), item) for key, item in items)
        return kind((k, i if at == SAVED_BY_TORCH else plain(i, at)) for k, at, i in named)
    for kind, saved in SEQUENCES.items():
        if isinstance(value, kind):
            return saved(plain(item, f"{where}[{i}]") for i, item in enumerate(value))
    if isinstance(value, Enum):
        return plain(value.value, where)
    if isinstance(value, np.ndarray | np.generic):
        listed = value.ndim == 0 or value.dtype.kind not in "biufc"
        return plain(value.tolist(), where) if listed else torch.tensor(value)
    if isinstance(value, PurePath):
        return str(value)
    for base in ORIGINS:
        if isinstance(value, base):
            return base(value)
    raise RunError(
        f"the checkpoint can't hold {where}, a {type(value).__module__}.{type(value).__qualname__}"
        "\nexpected numbers, strings, tensors, lists and dicts; change what its state_dict() gives"
    )
