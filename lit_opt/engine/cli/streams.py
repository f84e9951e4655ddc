"""What a command prints decides nothing: a stdout or stderr that fails becomes os.devnull."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_opt.engine.base.terminal import erase, make_room


class Unfailing:
    """A text stream of the process whose lines are lost, where they can't be written.

    Its reader has left (`| head -1`), its device is full, or it is closed. The file descriptor then
    leads to os.devnull, also for what is still in buffers when the process ends.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        with contextlib.suppress(AttributeError):  # not a file's, as in a notebook
            stream.reconfigure(errors="backslashreplace")  # such as é where the locale is C

    def write(self, text: str) -> int:
        make_room(text)
        self._try(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self.stream.flush)

    def _try(self, call: Callable[..., Any], *args: str) -> None:
        try:
            call(*args)
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def unfailing_streams() -> Iterator[None]:
    """Within, stdout and stderr are such streams; what the process started without is devnull."""
    for number in (0, 1, 2):  # else the next file to be opened, such as a checkpoint, would be it
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    with Path(os.devnull).open("w") as nowhere:
        streams = [Unfailing(stream or nowhere) for stream in before]
        sys.stdout, sys.stderr = streams
        try:
            yield
        finally:
            erase()
            for stream in streams:
                stream.flush()
            sys.stdout, sys.stderr = before
