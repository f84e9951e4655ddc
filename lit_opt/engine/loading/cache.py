"""A big array decoded once into a file, then mapped: memory holds what the system lends it."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import IO
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_opt.engine.errors import UserError

Row = NDArray[np.uint8]
Rows = Generator[Row, None, None]


def cached(
    folders: Sequence[Path], name: str, key: str, length: int, rows: Callable[[], Rows]
) -> Tensor | None:
    """uint8 (length, *row.shape) in `folder/name-key.npy`: the first found, or built from `rows()`.

    Built in the first folder that can be written; None if there is none. Read-only: a write to the
    tensor kills the process. Safe when processes build at once, are killed, or the disk is full.
    """
    file = f"{name}-{key}.npy"
    for folder in folders:
        if (x := _mapped(folder / file, length)) is not None:
            return x
    for folder in folders:
        if (lock := _lock_folder(folder)) is None:
            continue
        with lock:
            # Perhaps the process that was waited for has built it.
            if (x := _mapped(folder / file, length)) is None:
                _build(folder / file, length, rows())
                _remove(path for path in folder.glob(f"{name}-*.npy") if path.name != file)
                x = _mapped(folder / file, length)
            return x
    return None


def _mapped(path: Path, length: int) -> Tensor | None:
    """None if the file is absent, cut short or something else."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    if array.dtype != np.uint8 or len(array) != length:
        return None
    # Not mode "c", which Linux refuses for files larger than memory; torch warns of mode "r".
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(array)


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
            for number, row in enumerate(rows):
                if number == 0:
                    _write_header(file, (length, *row.shape))
                file.write(row.data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"can't write decoded images to '{path.parent}': {error.strerror};\n"
            "free space there, or set --dataset.cache false to keep them in memory"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    """A disk too small is told now, not when it is full."""
    size = math.prod(shape)
    if shutil.disk_usage(file.name).free < size:
        raise OSError(errno.ENOSPC, f"{size:,} bytes don't fit on the disk")
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
