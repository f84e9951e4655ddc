"""`environment.json`: with what a run was started; a list, one entry a start."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

import lit_opt
from lit_opt.engine.runs.allowance import sealed_allowance
from lit_opt.engine.runs.atomic_file import atomic_write

RECORDED = ("torch", "lightning", "torchmetrics", "torchvision", "numpy")
LARGE = 1_000_000  # bytes; of a file from this size on, git tells only that it differs


def record_start(run: Path, trainer: Trainer, seed: int | None) -> None:
    """Appends this start to `run/environment.json`; uncommitted changes are a file beside it."""
    path, damaged = run / "environment.json", None
    try:
        starts = list(json.loads(path.read_bytes()))
    except FileNotFoundError:
        starts = []
    except (ValueError, TypeError, RecursionError):  # edited or damaged: it gets another name
        starts, damaged = [], run / "environment-damaged.json"
    start = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "seed": seed,
        **sealed_allowance(),
        "versions": {
            "python": platform.python_version(),
            **{name: found.version for name in RECORDED for found in distributions(name=name)},
            "cuda": torch.version.cuda,
            "lit_opt": lit_opt.__version__,
        },
        "platform": platform.platform(),
        "host": platform.node(),
        "devices": _devices(trainer),
        "git": _git(run / f"uncommitted-{len(starts) + 1}.diff"),
    }
    with atomic_write(path, previous=damaged) as file:
        file.write(json.dumps([*starts, start], indent=2).encode() + b"\n")


def record_end(run: Path, facts: dict[str, Any]) -> None:
    """Notes in the newest start of `run/environment.json` how it ended and what it took."""
    path = run / "environment.json"
    starts = json.loads(path.read_bytes())
    starts[-1]["ended"] = facts
    with atomic_write(path) as file:
        file.write(json.dumps(starts, indent=2).encode() + b"\n")


def _devices(trainer: Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    forks = getattr(trainer.strategy.launcher, "is_interactive_compatible", False)
    gpu = device.type == "cuda" and not forks  # to ask for its name forbids to fork
    return {
        "accelerator": device.type,
        "number": trainer.num_devices * trainer.num_nodes,
        "name": torch.cuda.get_device_name(device) if gpu else platform.machine(),
        "threads": torch.get_num_threads(),
    }


def _git(diff_file: Path) -> dict[str, Any] | None:
    """The program's commit and the file of what differs from it; None outside of a repository."""
    try:
        commit = _git_prints("rev-parse", "HEAD").decode().strip()
        diff = _git_prints("diff", "--no-color", "--no-ext-diff", "--no-textconv", commit)
    except (OSError, subprocess.SubprocessError):
        return None
    if diff:
        with atomic_write(diff_file) as file:
            file.write(diff)
    return {"commit": commit, "dirty": bool(diff), "diff": diff_file.name if diff else None}


def _git_prints(*words: str) -> bytes:
    """What git says where the program is."""
    program = getattr(sys.modules["__main__"], "__file__", None)
    home = Path(program).resolve().parent if program else Path.cwd()
    return subprocess.run(
        ["git", "-C", str(home), "-c", f"core.bigFileThreshold={LARGE}", *words],
        capture_output=True,
        check=True,
        timeout=5,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    ).stdout
