"""Worker processes: a signal to a whole process group is for the main process alone."""

import atexit
import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Processes that are started within never get a SIGTERM or SIGINT; others do at the end."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@atexit.register
def _end_workers() -> None:
    """Python sends its daemons a SIGTERM, which ours never get, and would wait for them."""
    daemons = [process for process in multiprocessing.active_children() if process.daemon]
    if daemons and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch raises an error where one is killed
    for process in daemons:
        process.kill()
