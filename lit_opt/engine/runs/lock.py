"""One process at a time fits into a run folder."""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from lit_opt.engine.errors import UserError

LOCK = ".lock"
_held: set[FileIO] = set()


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Makes the folder and locks it; the end of the process, however it comes, unlocks it.

    Where a file system has no locks a warning is printed, on Windows there are none at all. A
    folder that can't be written is left to `probe`; one that is left without files is removed.

    Raises:
        UserError: if another process has locked it.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / LOCK).open("ab+", buffering=0)
    except OSError:
        yield
        return
    with file:
        _take(file, run)
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)
            with contextlib.suppress(OSError):
                if [path.name for path in run.iterdir()] == [LOCK]:
                    (run / LOCK).unlink()
                    run.rmdir()
                    run.parent.rmdir()  # which is left, if other runs are in it


def _take(file: FileIO, run: Path) -> None:
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode(errors="replace") or "another process"
        raise UserError(
            f"{holder} is at work in '{run}'\nwait for its end, or choose another --name"
        ) from None
    except OSError as error:
        why = f"'{run}' can't be locked ({error.strerror})"
        print(f"warning: {why}; start no second process on it", file=sys.stderr)
    with contextlib.suppress(OSError):  # a full disk
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}".encode())


def _let_go() -> None:
    """Workers outlive a killed run by seconds, in which they would go on holding its lock."""
    for file in _held:
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
