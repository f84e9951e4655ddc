"""Errors that are told in one to four lines."""

import sys
from functools import cache


class UserError(Exception):
    """One to four lines: what was seen, what was expected, which key to change.

    `train.py` prints it as `error: …` without a traceback and exits with 2.
    """


class RunError(Exception):
    """A run that can't go on: one to four lines of what happened; exits with 1."""


class Stopped(Exception):  # noqa: N818 - not an error
    """A run that was told to stop, or need not run; `code` is the exit status."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


def warn(text: str) -> None:
    """Prints `warning: text` on stderr, on the first of several processes."""
    from lightning.pytorch.utilities import rank_zero_only  # heavy; this file is read before it

    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        print(f"warning: {text}", file=sys.stderr)


warn_once = cache(warn)  # where the same may be found again in a process
