"""What a net takes of the data's sizes."""

import inspect
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

# Sizes that the data fills in, and what stands for one that a net needs until the data is known.
STAND_INS = {"in_shape": "[1]", "in_channels": "1", "in_chans": "1", "num_classes": "1"}


def takes_any(path: str) -> bool:
    """Whether an import path is a function with **kwargs, such as timm.create_model."""
    try:
        named = resolve_name(path)
    except (ImportError, AttributeError, ValueError):
        return False
    kinds = [parameter.kind for parameter in inspect.signature(named).parameters.values()]
    return not isinstance(named, type) and inspect.Parameter.VAR_KEYWORD in kinds


def with_sizes(net: Mapping[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The option `net` with those of `sizes` that its class or factory takes.

    A factory with **kwargs that doesn't name it is given num_classes, and if it isn't one of
    torchvision, which has no such word, in_chans, as timm's take it.
    """
    path, named = net["class_path"], net.get("init_args", {})
    option = {"class_path": path, "init_args": {k: v for k, v in sizes.items() if k in named}}
    if takes_any(path):
        words = ["num_classes"] if path.startswith("torchvision.") else ["num_classes", "in_chans"]
        passed = {word: sizes[word] for word in words if word not in named}
        option |= {"dict_kwargs": passed} if passed else {}
    return option
