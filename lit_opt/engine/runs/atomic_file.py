"""Files that appear whole or not at all, wherever the process is killed."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lit_opt.engine.base.errors import RunError


@contextmanager
def atomic_write(path: Path, previous: Path | None = None) -> Iterator[IO[bytes]]:
    """A hidden file beside `path` to write to, which takes its name once it is on the disk.

    Its folder is made. The file now at `path` gets the name `previous`, if there is one, once the
    new one has taken its place.

    Raises:
        RunError: if it can't be written; `path` and `previous` are then as they were.
    """
    new, old = (file.with_name(f".{file.name}.tmp") for file in (path, previous or path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # From here on one of `path` and `previous` is whole, even if the old `path` was not.
        keep = previous if path.exists() else None
        if keep:
            _link(path, old)
        new.replace(path)
        if keep:
            old.replace(keep)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch's zip writer raises RuntimeErrors
        raise RunError(
            f"can't write '{path}': {reason(error)}\n"
            "the files that were there are as they were; free space, or set --default_root_dir"
        ) from error
    finally:
        remove(new, old)


def write_text(path: Path, text: str | bytes) -> None:
    """In UTF-8, whatever the locale; names of files that are no UTF-8 with the bytes they have."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)


def _sync_folder(folder: Path) -> None:
    """The new names survive a power cut, too, where the file system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _link(path: Path, name: Path) -> None:
    """A second name; where the file system has none, a copy."""
    name.unlink(missing_ok=True)
    try:
        name.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, name)


def remove(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def reason(error: BaseException) -> str:
    """What the system said, which torch buries under an error of its own; one line."""
    inner: BaseException | None = error
    while inner:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__context__
    return str(error).partition("\n")[0] or type(error).__name__
