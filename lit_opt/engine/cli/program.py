"""What `train.py` states about a project: its classes, its defaults, its packages."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lit_opt.engine.base.allowed_imports import packages_in_text


@dataclass(frozen=True)
class Program:
    """What the command line runs.

    Args:
        model: Your LightningModule: the class, or its import path, which is imported only after
            the command line has been found to be spelt right.
        data: Your LightningDataModule, likewise; None if the module has the loaders.
        defaults: Options whose defaults differ from those of the classes, by their short names.
        allow: Packages of yours that configs and checkpoints may name.
        chosen: Which of model and data a command has named anew; defaults that they don't take go.
    """

    model: type | str
    data: type | str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    allow: Iterable[str] = ()
    chosen: frozenset[str] = frozenset()

    def packages(self) -> list[str]:
        """The packages that may be named: the allowed ones, those of the classes and defaults."""
        classes = [cls for cls in (self.model, self.data) if cls]
        paths = [cls if isinstance(cls, str) else cls.__module__ for cls in classes]
        named = packages_in_text(str(dict(self.defaults)))
        return [*self.allow, *(path.partition(".")[0] for path in paths), *named]
