"""`runs/<name>/`: one folder a run."""

import os
import time
from pathlib import Path

from lit_opt.errors import UserError

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
    folder = root / "runs" / (name or f"{label}-{time.strftime('%Y%m%d-%H%M%S')}")
    if name and folder.exists():
        raise UserError(f"the run {folder} exists already; choose another --name or remove it")
    folder = _first_free(folder)
    os.environ[CHOSEN] = str(folder)
    return folder


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
