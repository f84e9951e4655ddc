"""`runs/NAME/`: which folder a run has, one process in it at a time, and whether it is over."""

import contextlib
import errno
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from lit_opt.engine.base.errors import UserError, warn
from lit_opt.engine.runs.atomic_file import reason, write_text
from lit_opt.engine.runs.checkpoint_file import LAST, PREVIOUS

CHOSEN = "LIT_OPT_RUN"  # the folder, handed down to the processes that Lightning starts
LOCK = ".lock"
FILES = ["config.yaml", "environment.json", "metrics.csv", "metrics.json", ".finished", LOCK]
FILES += [f"checkpoints/{name}" for name in (LAST, PREVIOUS, "best.ckpt")]
LENGTH = ("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time")


def folder_of(root: Path, label: str, name: str | None = None, resume: bool = False) -> Path:
    """The folder of a run, `root/runs/NAME`; created with its first file.

    Args:
        root: Where `runs/` is or will be.
        label: What an unnamed new run is called, together with the time.
        name: The name, if the user chose one.
        resume: Whether it is `name`, be it there or not; without a name the one saved last.

    Raises:
        UserError: if a new run's name is taken, or there is none to resume.
    """
    if "LOCAL_RANK" in os.environ and CHOSEN in os.environ:
        return Path(os.environ[CHOSEN])  # this process is a further rank of a run
    folder = (_resumed if resume else _new)(root / "runs", label, name)
    os.environ[CHOSEN] = str(folder)
    return folder


def _new(runs: Path, label: str, name: str | None) -> Path:
    folder = runs / (name or f"{label}-{time.strftime('%Y%m%d-%H%M%S')}")
    further: bool = rank_zero_only.rank > 0  # type: ignore[attr-defined]
    # The first process makes the folder while further ones start, and saves when all are there.
    if name and (folder / "checkpoints" / LAST if further else folder).exists():
        raise UserError(
            f"the run {folder} exists already;\n"
            "add --resume to go on with it, choose another --name, or remove it"
        )
    if name or further:
        return folder
    # Two runs may start in the same second: the folder is the one's that makes it.
    names = chain([folder.name], (f"{folder.name}-{number}" for number in count(2)))
    return next(runs / name for name in names if _makes(runs / name))


def _makes(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return not folder.parent.is_dir()  # a file in its place is told by `probe`
    except OSError:
        pass  # told by `probe` as well
    return True


def _resumed(runs: Path, label: str, name: str | None) -> Path:
    if name:
        return runs / name
    saved = [path for last in (LAST, PREVIOUS) for path in runs.glob(f"*/checkpoints/{last}")]
    if not saved:
        raise UserError(f"--resume: no run in '{runs}' has a checkpoint; set --name to start one")
    return max(saved, key=lambda path: path.stat().st_mtime).parents[1]


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that wrote a checkpoint; its own folder if it has moved."""
    folder = checkpoint.resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder


def probe(run: Path, size: int) -> None:
    """Makes the folder and finds out before the training whether a checkpoint fits into it.

    What is in the way goes: half-written files of a killed process, and Lightning's
    `hpc_ckpt_*`, from which it would start under SLURM instead of from what it is told.
    A checkpoint takes at least `size` bytes.

    Raises:
        UserError: if there is no room, or nothing can be written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        for stale in run.glob("*hpc_ckpt_*"):
            stale.replace(stale.with_name(stale.name.replace("hpc_ckpt_", "unused_hpc_")))
        with TemporaryFile(dir=run) as trial:
            trial.write(b"0")
        for unfinished in run.glob("checkpoints/.*.tmp"):
            unfinished.unlink()
        if shutil.disk_usage(run).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        with contextlib.suppress(OSError):
            run.rmdir()  # if it is new, and so empty
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UserError(
            f"can't write {f'{size:,} bytes ' if full else ''}to '{run}': {reason(error)}\n"
            f"{'free space there, or ' if full else ''}set --default_root_dir to another folder"
        ) from error


def is_new(run: Path) -> bool:
    """Whether nothing has been written to it but the lock."""
    return {path.name for path in run.iterdir()} <= {LOCK}


def remove_all(run: Path) -> None:
    """What a start wrote that was refused before its first step; `locked` removes the folder."""
    for path in run.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)


# ---- one process at a time


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Makes the folder and locks it; the end of the process, however it comes, unlocks it.

    Where a file system has no locks a warning is printed, on Windows there are none at all. A
    folder that can't be written is left to `probe`; one that is left without files is removed.

    Raises:
        UserError: if another process has locked it, or a folder is in the place of a file.
    """
    for path in map(run.joinpath, FILES):
        if path.is_dir():
            raise UserError(f"'{path}' is a folder where the run has a file; move or remove it")
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / LOCK).open("ab+", buffering=0)
    except OSError:
        yield
        return
    with file:
        _take(file, run)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if is_new(run):
                    (run / LOCK).unlink()
                    run.rmdir()
                    run.parent.rmdir()  # which is left, if other runs are in it


def _take(file: FileIO, run: Path) -> None:
    try:
        import fcntl

        # A lock of the process: workers, which outlive a killed run by seconds, don't inherit it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode(errors="replace") or "another process"
        raise UserError(
            f"{holder} is at work in '{run}'\nwait for its end, or choose another --name"
        ) from None
    except OSError as error:
        warn(f"'{run}' can't be locked ({error.strerror}); start no second process on it")
    with contextlib.suppress(OSError):  # a full disk
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}".encode())


# ---- whether it is over


def mark_finished(run: Path, trainer_config: Mapping[str, Any]) -> None:
    """Notes in `run/.finished`, JSON, that the run is over, and the length that it had."""
    write_text(run / ".finished", _length(trainer_config))


def is_finished(run: Path, trainer_config: Mapping[str, Any]) -> bool:
    """Whether the run came to its end, and is not to become longer or shorter now."""
    note = run / ".finished"
    return note.is_file() and note.read_bytes() == _length(trainer_config).encode()


def _length(trainer_config: Mapping[str, Any]) -> str:
    return json.dumps({key: str(trainer_config[key]) for key in LENGTH})
