"""The last line of a terminal, drawn over and over: how far a run is, or a step that takes long."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ERASE = "\r\x1b[K"
WAIT = 1.0  # seconds after which a step that prints nothing is shown
_lock = threading.RLock()
_drawn = False
_line_open = False  # something was printed without an end of line, such as a question
_steps: list[object] = []  # those that run now, the innermost last


def is_live() -> bool:
    """Whether stdout is a terminal on which a line can be drawn over, of a run's first process."""
    able = os.environ.get("TERM", "" if os.name == "nt" else "dumb") != "dumb"
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    return able and first and "CI" not in os.environ and sys.stdout.isatty()


def columns() -> int:
    """The width that lines are made for: the terminal's, $COLUMNS, or 80 where there is none."""
    return shutil.get_terminal_size().columns


def cut_to(text: str, width: int) -> str:
    """As much of `text` as fits in `width` columns, as this stdout can show it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    if text.isascii():
        return text[:width]
    from rich.cells import set_cell_size

    return set_cell_size(text, width).rstrip()


def draw(text: str) -> None:
    """Draws `text` in place of what was drawn; what is printed next takes that place."""
    global _drawn
    with _lock:
        if not _line_open:
            told = cut_to(text, columns() - 1)  # the last column may wrap
            _drawn = True  # already: a signal's answer that comes in between is to erase it
            sys.stdout.write(f"\r{told}\x1b[K")
            sys.stdout.flush()


def erase() -> None:
    """What was drawn is gone, the cursor at the beginning of its line."""
    global _drawn
    with _lock:
        if _drawn:
            sys.stdout.write(ERASE)
            sys.stdout.flush()
            _drawn = False


def make_room(text: str) -> None:
    """To be called before `text` is written to stdout or stderr by anyone."""
    global _line_open
    with _lock:
        if text not in ("", ERASE) and not text.startswith("\r"):
            erase()
            _line_open = not text.endswith("\n")


def erasing() -> str:
    """What erases the line, for a signal's answer, which can't use Python's streams."""
    return ERASE if _drawn and os.isatty(2) else ""


@contextmanager
def long_step(what: str | Callable[[], str]) -> Iterator[None]:
    """Within, `what 12 s` is drawn every half second, once a second has passed."""
    if not is_live():
        yield
        return
    step, over, began = object(), threading.Event(), time.monotonic()

    def show() -> None:
        pause = WAIT
        while not over.wait(pause):
            with _lock:
                if not over.is_set() and _steps[-1] is step:
                    text = what() if callable(what) else what
                    draw(f"{text} {time.monotonic() - began:.0f} s")
            pause = 0.5

    _steps.append(step)
    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        with _lock:
            _steps.remove(step)
            erase()
