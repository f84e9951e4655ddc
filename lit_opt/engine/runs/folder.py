"""`runs/<name>/`: one folder a run."""

import contextlib
import errno
import os
import shutil
import time
from itertools import chain, count
from pathlib import Path

from lit_opt.engine.errors import UserError
from lit_opt.engine.runs.atomic_file import reason, remove, remove_leftovers

CHOSEN = "LIT_OPT_RUN"  # the folder, handed down to the processes that Lightning starts


def new_run(root: Path, label: str, name: str | None = None) -> Path:
    """The folder of a new run, `root/runs/NAME`; created with its first file.

    Args:
        root: Where `runs/` is or will be.
        label: What an unnamed run is called, together with the time.
        name: The name, if the user chose one.

    Raises:
        UserError: if a run of that name is there already.
    """
    if folder := run_of_parent():
        return folder
    folder = runs_of(root) / (name or f"{label}-{time.strftime('%Y%m%d-%H%M%S')}")
    if name and folder.exists():
        raise UserError(
            f"the run {folder} exists already;\n"
            "add --resume to go on with it, choose another --name, or remove it"
        )
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    # Two runs may start in the same second.
    return hand_down(next(f for f in chain([folder], numbered) if not f.exists()))


def run_of_parent() -> Path | None:
    """The folder that the process which started this one as a further rank has chosen."""
    started = "LOCAL_RANK" in os.environ and CHOSEN in os.environ
    return Path(os.environ[CHOSEN]) if started else None


def hand_down(folder: Path) -> Path:
    """Tells the processes that Lightning starts which folder has been chosen."""
    os.environ[CHOSEN] = str(folder)
    return folder


def runs_of(root: Path) -> Path:
    return root / "runs"


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that wrote a checkpoint; its own folder if it has moved."""
    folder = checkpoint.resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder


def probe(run: Path, size: int) -> None:
    """Makes the folder and finds out before the training whether a checkpoint fits into it.

    What is in the way goes: half-written files of a killed process, and Lightning's
    `hpc_ckpt_*`, from which it would start under SLURM instead of from what it is told.

    Args:
        run: The folder of a run.
        size: Bytes, the least that a checkpoint takes.

    Raises:
        UserError: if there is no room, or nothing can be written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        remove_leftovers(run / "checkpoints")
        for stale in run.glob("*hpc_ckpt_*"):
            stale.replace(stale.with_name(stale.name.replace("hpc_ckpt_", "unused_hpc_")))
        _try_to_write(run / ".probe.tmp")
        if shutil.disk_usage(run).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        with contextlib.suppress(OSError):
            run.rmdir()  # if it is new, and so empty
        raise UserError(
            f"can't write {size:,} bytes to '{run}': {reason(error)}\n"
            "free space there, or set --default_root_dir to another folder"
        ) from error


def _try_to_write(trial: Path) -> None:
    try:
        trial.write_bytes(b"0")
    finally:
        remove([trial])
