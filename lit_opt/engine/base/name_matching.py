"""Finds a class by its name in any case, with or without underscores and the usual endings.

It imports nothing heavy: the command line reads it before torch.
"""

import difflib
from collections.abc import Iterable


def comparable(name: str) -> str:
    """`cross_entropy` and `CrossEntropyLoss` -> `crossentropy`, `StepLR` -> `step`."""
    return name.lower().replace("_", "").removesuffix("loss").removesuffix("lr")


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Up to three of `names` that are like `name`, the likest first."""
    by_form = {comparable(known): known for known in names}
    near = difflib.get_close_matches(comparable(name), by_form, n=3, cutoff=0.5)
    return [by_form[key] for key in near]
