"""`environment.json`: with what a run was started; a list, one entry a start."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

import lit_opt
from lit_opt.engine.runs.atomic_file import atomic_write

RECORDED = ("torch", "lightning", "torchmetrics", "torchvision", "numpy")
# No other variable is kept: many hold secrets.
VARIABLES = ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
LARGEST_DIFF = 1_000_000  # bytes


def record_start(run: Path, trainer: Trainer, seed: int | None) -> None:
    """Appends this start to `run/environment.json`; uncommitted changes are a file beside it."""
    path, damaged = run / "environment.json", None
    try:
        starts = list(json.loads(path.read_bytes()))
    except FileNotFoundError:
        starts = []
    except (ValueError, TypeError):  # edited or damaged: it gets another name
        starts, damaged = [], run / "environment-damaged.json"
    start = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "seed": seed,
        "versions": _versions(),
        "platform": platform.platform(),
        "host": platform.node(),
        "devices": _devices(trainer),
        "variables": {
            name: value
            for name, value in os.environ.items()
            if name in VARIABLES or name.startswith("LIT_OPT_")
        },
        "git": _git(run / f"uncommitted-{len(starts) + 1}.diff"),
    }
    with atomic_write(path, previous=damaged) as file:
        file.write(json.dumps([*starts, start], indent=2).encode() + b"\n")


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {**versions, "cuda": torch.version.cuda, "lit_opt": lit_opt.__version__}


def _devices(trainer: Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    forks = getattr(trainer.strategy.launcher, "is_interactive_compatible", False)
    gpu = device.type == "cuda" and not forks  # to ask for its name forbids to fork
    return {
        "accelerator": device.type,
        "number": trainer.num_devices * trainer.num_nodes,
        "name": torch.cuda.get_device_name(device) if gpu else _processor(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    """The model's name, which Linux tells in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git(diff_file: Path) -> dict[str, Any] | None:
    """The program's commit and the file of what differs from it; None outside of a repository."""
    try:
        commit = _git_prints("rev-parse", "HEAD").decode().strip()
        diff = _git_prints("diff", "--no-color", "--no-ext-diff", "--no-textconv", commit)
    except (OSError, subprocess.SubprocessError):
        return None
    if len(diff) > LARGEST_DIFF:
        cut = f"\ncut off after {LARGEST_DIFF:,} of {len(diff):,} bytes\n"
        diff = diff[:LARGEST_DIFF] + cut.encode()
    if diff:
        with atomic_write(diff_file) as file:
            file.write(diff)
    return {"commit": commit, "dirty": bool(diff), "diff": diff_file.name if diff else None}


def _git_prints(*words: str) -> bytes:
    """What git says where the program is; of a large file only that it differs."""
    program = getattr(sys.modules["__main__"], "__file__", None)
    home = Path(program).resolve().parent if program else Path.cwd()
    return subprocess.run(
        ["git", "-C", str(home), "-c", f"core.bigFileThreshold={LARGEST_DIFF}", *words],
        capture_output=True,
        check=True,
        timeout=5,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    ).stdout
