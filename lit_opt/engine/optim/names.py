"""Class names as people write them: in any case, with or without underscores and endings."""

import difflib
from collections.abc import Iterable


def plain(name: str) -> str:
    """`cross_entropy` and `CrossEntropyLoss` -> `crossentropy`, `StepLR` -> `step`."""
    return name.lower().replace("_", "").removesuffix("loss").removesuffix("lr")


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Up to three of `names` that are like `name`, the likest first."""
    by_plain = {plain(known): known for known in names}
    near = difflib.get_close_matches(plain(name), by_plain, n=3, cutoff=0.5)
    return [by_plain[key] for key in near]
