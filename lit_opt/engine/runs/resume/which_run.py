"""Which run `--resume` goes on with, and whether there is anything left to do."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_opt.engine.errors import UserError
from lit_opt.engine.runs.atomic_file import write_text
from lit_opt.engine.runs.checkpoint_file import LAST, PREVIOUS
from lit_opt.engine.runs.folder import hand_down, run_of_parent, runs_of

LENGTH = ("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time")


def run_to_resume(root: Path, name: str | None) -> Path:
    """`runs/NAME`, be it there or not; without a name the run that was saved last.

    Raises:
        UserError: if there is none.
    """
    if folder := run_of_parent():
        return folder
    runs = runs_of(root)
    newest = runs / name if name else max(runs.glob("*"), key=_saved_at, default=None)
    if newest is None or (not name and _saved_at(newest) == 0):
        raise UserError(f"--resume: no run in '{runs}' has a checkpoint; set --name to start one")
    return hand_down(newest)


def _saved_at(run: Path) -> float:
    files = [run / "checkpoints" / name for name in (LAST, PREVIOUS)]
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)


def mark_finished(run: Path, trainer_config: Mapping[str, Any]) -> None:
    """Notes in `run/.finished`, JSON, that the run is over, and the length that it had."""
    write_text(run / ".finished", json.dumps(_length(trainer_config)))


def is_finished(run: Path, trainer_config: Mapping[str, Any]) -> bool:
    """Whether the run came to its end, and is not to become longer or shorter now."""
    try:
        return bool(json.loads((run / ".finished").read_text()) == _length(trainer_config))
    except (OSError, ValueError):
        return False


def _length(trainer_config: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(trainer_config[key]) for key in LENGTH}


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`data.batch_size 64 -> 128` for every value that both have and that differs."""
    found: list[str] = []
    for key in old.keys() & new.keys():
        if isinstance(old[key], Mapping) and isinstance(new[key], Mapping):
            found += changes(old[key], new[key], f"{prefix}{key}.")
        elif _tuple_as_list(old[key]) != _tuple_as_list(new[key]):
            found.append(f"{prefix}{key} {old[key]} -> {new[key]}")
    return sorted(found)


def _tuple_as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
