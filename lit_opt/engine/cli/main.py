"""`Program.main`, what `train.py` runs: help, version, one command, the exit status."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lit_opt import __version__
from lit_opt.engine.allowed_imports import allow, split_allowed
from lit_opt.engine.cli.options import check_spelling
from lit_opt.engine.cli.overview import OVERVIEW

if TYPE_CHECKING:
    from lit_opt.engine.cli.run import Run


@dataclass(frozen=True)
class Program:
    """What the command line runs.

    Args:
        model: Your LightningModule: the class, or its import path, which is imported only after
            the command line has been found to be spelt right.
        data: Your LightningDataModule, likewise.
        defaults: Options whose defaults differ from those of the classes, by their short names.
        allow: Packages of yours that configs, checkpoints and options may name.
    """

    model: type | str
    data: type | str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    allow: Iterable[str] = ()

    def main(self, args: list[str] | None = None) -> "Run | None":
        """Runs one command line; returns its trainer, model, data and scores.

        Args:
            args: The words after `train.py`; those of the process if None.

        Raises:
            SystemExit: 2 for usage and data, 1 for a run that failed, 143 and 130 for one that
                was stopped by SIGTERM or Ctrl-C; the message is on stderr.
        """
        words = list(sys.argv[1:] if args is None else args)
        if words[:1] in (["--help"], ["-h"]):
            print(OVERVIEW)
            return None
        if "--version" in words:
            about = f"lightning {version('lightning')}, torch {version('torch')}"
            print(f"lit-opt {__version__}, {about}")
            return None
        try:
            return self._run([word for word in words if word != "--debug"])
        except BaseException as error:
            from lit_opt.engine.cli.messages import leave

            leave(error, debug="--debug" in words)
            return None

    def _run(self, words: list[str]) -> "Run":
        named, words = split_allowed(words)
        allow([*self.allow, *named, *map(package_of, (self.model, self.data))])
        check_spelling(words, self.model, self.data)
        from lit_opt.engine.cli.quiet import quiet_loggers, quiet_warnings

        quiet_warnings()
        from lit_opt.engine.cli.run import run

        quiet_loggers()
        return run(self, words)


def package_of(cls: type | str) -> str:
    """The top package of a class or of an import path."""
    return (cls if isinstance(cls, str) else cls.__module__).partition(".")[0]
