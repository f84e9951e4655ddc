"""`runs/<name>/`: one folder a run."""

import contextlib
import os
import time
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
    if "LOCAL_RANK" in os.environ and CHOSEN in os.environ:
        return Path(os.environ[CHOSEN])
    folder = runs_of(root) / (name or f"{label}-{time.strftime('%Y%m%d-%H%M%S')}")
    if name and folder.exists():
        raise UserError(
            f"the run {folder} exists already;\n"
            "add --resume to go on with it, choose another --name, or remove it"
        )
    folder = _first_free(folder)
    os.environ[CHOSEN] = str(folder)
    return folder


def runs_of(root: Path) -> Path:
    return root / "runs"


def probe(run: Path, size: int) -> None:
    """Makes the folder and finds out before the training whether a file fits into it.

    Args:
        run: The folder of a run; what a killed process left half-written there is removed.
        size: Bytes to write, the least that a checkpoint takes.

    Raises:
        UserError: if they can't be written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        remove_leftovers(run / "checkpoints")
        _try_to_write(run / ".probe.tmp", size)
    except OSError as error:
        with contextlib.suppress(OSError):
            run.rmdir()  # if it is new, and so empty
        raise UserError(
            f"can't write {size:,} bytes to '{run}': {reason(error)}\n"
            "free space there, or set --default_root_dir to another folder"
        ) from error


def _try_to_write(trial: Path, size: int) -> None:
    block = os.urandom(2**20)  # zeros take no space in some file systems
    try:
        with trial.open("wb") as file:
            for start in range(0, size, len(block)):
                file.write(block[: size - start])
    finally:
        remove([trial])


def _first_free(folder: Path) -> Path:
    """Two runs may start in the same second."""
    free, count = folder, 1
    while free.exists():
        count += 1
        free = folder.with_name(f"{folder.name}-{count}")
    return free


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that wrote a checkpoint; its own folder if it has moved."""
    folder = checkpoint.resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder
