"""What `train.py` states about a project: its classes, its defaults, its packages."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lit_opt.engine.allowed_imports import packages_in_text


@dataclass(frozen=True)
class Program:
    """What the command line runs.

    Args:
        model: Your LightningModule: the class, or its import path, which is imported only after
            the command line has been found to be spelt right.
        data: Your LightningDataModule, likewise.
        defaults: Options whose defaults differ from those of the classes, by their short names.
        allow: Packages of yours that configs and checkpoints may name.
    """

    model: type | str
    data: type | str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    allow: Iterable[str] = ()

    def packages(self) -> list[str]:
        """The packages that may be named: the allowed ones, those of the classes and defaults."""
        paths = [c if isinstance(c, str) else c.__module__ for c in (self.model, self.data)]
        named = packages_in_text(str(dict(self.defaults)))
        return [*self.allow, *(path.partition(".")[0] for path in paths), *named]
