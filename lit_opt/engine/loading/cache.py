"""A big array decoded once into a file, then mapped: memory holds what the system lends it."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import IO
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_opt.engine.base.errors import UserError

Row = NDArray[np.uint8]
# Rows of one shape, in order; a string says why there is none at that place.
Rows = Generator[Row | str, None, None]
Found = tuple[Tensor, dict[int, str]]


def cached(
    folders: Sequence[Path], name: str, key: str, length: int, rows: Callable[[], Rows]
) -> Found | None:
    """uint8 (N, *row.shape) in `folder/name-key.npy`: the first found, or built from `rows()`.

    With it, by place, why rows are missing: N is `length` without them. Built in the first folder
    that can be written; None if there is none. Read-only: a write to the tensor kills the process.
    Safe when processes build at once, are killed, or the disk is full.
    """
    file = f"{name}-{key}.npy"
    for folder in folders:
        if (found := _mapped(folder / file, length)) is not None:
            return found
    for folder in folders:
        if (lock := _lock_folder(folder)) is None:
            continue
        with lock:
            # Perhaps the process that was waited for has built it.
            if (found := _mapped(folder / file, length)) is None:
                _build(folder / file, length, rows())
                _remove(path for path in folder.glob(f"{name}-*.npy") if path.name != file)
                found = _mapped(folder / file, length)
            return found
    return None


def in_memory(rows: Rows) -> Found:
    """The same without a file."""
    found = list(rows)
    missing = {place: row for place, row in enumerate(found) if isinstance(row, str)}
    return torch.from_numpy(np.stack([row for row in found if not isinstance(row, str)])), missing


def _mapped(path: Path, length: int) -> Found | None:
    """None if the file is absent, cut short or something else."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
        with path.open("rb") as file:
            file.seek(array.offset + array.nbytes)
            missing = {int(place): reason for place, reason in json.load(file).items()}
    except (OSError, ValueError, EOFError, AttributeError):
        return None
    if array.dtype != np.uint8 or len(array) + len(missing) != length:
        return None
    # Not mode "c", which Linux refuses for files larger than memory; torch warns of mode "r".
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(array), missing


def _lock_folder(folder: Path) -> IO[str] | None:
    """Waits while another process builds in `folder`; closing unlocks, and so does being killed.

    None if the folder can't be written or locked, as on Windows.
    """
    try:
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except (ImportError, OSError):
        return None
    return lock


def _remove(paths: Iterable[Path]) -> None:
    """A process that has a removed file mapped keeps it to its end."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _build(path: Path, length: int, rows: Rows) -> None:
    """Under the lock; the file appears whole or not at all, even if the power fails."""
    _remove(path.parent.glob("*.tmp"))  # of a process that was killed
    temporary = path.with_name(f"{uuid4().hex}.tmp")
    try:
        with contextlib.closing(rows), temporary.open("wb") as file:
            _write(file, length, rows)
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"can't write decoded images to '{path.parent}': {error.strerror};\n"
            "free space there, or set --dataset.cache false to keep them in memory"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _write(file: IO[bytes], length: int, rows: Rows) -> None:
    """A .npy file of the rows that there are, and behind it JSON of those that are missing.

    In order and not through a mapping, where a full disk kills the process.
    """
    missing: dict[int, str] = {}
    shape: tuple[int, ...] = ()
    for place, row in enumerate(rows):
        if isinstance(row, str):
            missing[place] = row
            continue
        if not shape:
            shape = row.shape
            _write_header(file, (length, *shape))
            _reserve(file, math.prod((length, *shape)))
        file.write(row.data)
    file.write(json.dumps(missing).encode())
    file.truncate()
    file.seek(0)
    _write_header(file, (length - len(missing), *shape))  # as long as the first one
    file.flush()


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _reserve(file: IO[bytes], size: int) -> None:
    """A disk or a quota too small is told now, not hours later; on macOS when it is full."""
    if not hasattr(os, "posix_fallocate"):
        return
    file.flush()
    try:
        os.posix_fallocate(file.fileno(), file.tell(), size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # of a file system that can't
            raise OSError(error.errno, f"{error.strerror} for {size:,} bytes") from error
