"""Which run `--resume` goes on with, and whether there is anything left to do."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_opt.engine.errors import UserError
from lit_opt.engine.runs.atomic_file import write_text
from lit_opt.engine.runs.checkpoint_file import LAST, PREVIOUS
from lit_opt.engine.runs.folder import CHOSEN, runs_of

LENGTH = ("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time")


def run_to_resume(root: Path, name: str | None) -> Path:
    """`runs/NAME`, be it there or not; without a name the run that was saved last.

    Raises:
        UserError: if there is none.
    """
    if "LOCAL_RANK" in os.environ and CHOSEN in os.environ:
        return Path(os.environ[CHOSEN])
    runs = runs_of(root)
    folder = runs / name if name else max(runs.glob("*"), key=_saved_at, default=None)
    if folder is None or (not name and _saved_at(folder) == 0):
        raise UserError(f"--resume: no run in '{runs}' has a checkpoint; set --name to start one")
    os.environ[CHOSEN] = str(folder)
    return folder


def _saved_at(run: Path) -> float:
    files = [run / "checkpoints" / name for name in (LAST, PREVIOUS)]
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)


def mark_finished(run: Path, trainer_config: Mapping[str, Any]) -> None:
    write_text(run / ".finished", json.dumps(_length(trainer_config)))


def is_finished(run: Path, trainer_config: Mapping[str, Any]) -> bool:
    """Whether the run came to its end, which is not to be put off now."""
    try:
        then = json.loads((run / ".finished").read_text())
    except (OSError, ValueError):
        return False
    return bool(then == _length(trainer_config))


def _length(trainer_config: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(trainer_config[key]) for key in LENGTH}


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`data.batch_size 64 -> 128` for every value that both have and that differs."""
    found: list[str] = []
    for key in old.keys() & new.keys():
        if isinstance(old[key], Mapping) and isinstance(new[key], Mapping):
            found += changes(old[key], new[key], f"{prefix}{key}.")
        elif _plain(old[key]) != _plain(new[key]):
            found.append(f"{prefix}{key} {old[key]} -> {new[key]}")
    return sorted(found)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
