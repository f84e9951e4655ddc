"""`environment.json`: with what a run was started; a list, one entry a start."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

import lit_opt
from lit_opt.engine.runs.atomic_file import write_aside

PACKAGES = ("torch", "lightning", "torchmetrics", "torchvision", "numpy")
# No other variable is kept: many hold secrets.
VARIABLES = ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
DIFF = ("diff", "--no-color", "--no-ext-diff", "--no-textconv")
MOST = 1_000_000  # bytes of a diff
MOST_NAMES = 100  # of files that git does not track


def record_start(run: Path, trainer: Trainer, seed: int | None) -> None:
    """Appends this start to `run/environment.json`; uncommitted changes are a file beside it."""
    path, damaged = run / "environment.json", None
    try:
        starts = json.loads(path.read_bytes())
    except FileNotFoundError:
        starts = []
    except ValueError:  # edited or damaged: it gets another name
        starts, damaged = [], run / "environment-damaged.json"
    start = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "seed": seed,
        "versions": _versions(),
        "platform": platform.platform(),
        "host": platform.node(),
        "devices": _devices(trainer),
        "variables": _variables(os.environ),
        "git": _git(_home(), run),
    }
    with write_aside(path, previous=damaged) as file:
        file.write(json.dumps([*starts, start], indent=2).encode() + b"\n")


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
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


def _variables(variables: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in variables.items() if k in VARIABLES or k.startswith("LIT_OPT_")}


# ---- git


def _home() -> Path:
    """Where the program is, whose code the run is of."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return Path(file).resolve().parent if file else Path.cwd()


def _git(home: Path, run: Path) -> dict[str, Any] | None:
    """The commit and what differs from it; None without git or outside of a repository."""
    try:
        status = _output(home, "status", "--porcelain=v2", "--branch", "--untracked-files=normal")
        lines = status.decode(errors="replace").splitlines()
        [commit] = [line.split()[-1] for line in lines if line.startswith("# branch.oid")]
        changed = [line for line in lines if line[0] in "12u"]
        diff = _output(home, *DIFF, commit) if changed else b""
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    untracked = [line[2:] for line in lines if line.startswith("?")]
    return {
        "commit": commit,
        "dirty": bool(changed),
        "diff": _save_diff(run, diff) if diff else None,
        "untracked": untracked[:MOST_NAMES],
    }


def _save_diff(run: Path, diff: bytes) -> str:
    """The name of its file, which starts with the same changes share."""
    if len(diff) > MOST:
        diff = diff[:MOST] + f"\ncut off after {MOST:,} of {len(diff):,} bytes\n".encode()
    path = run / f"uncommitted-{hashlib.sha256(diff).hexdigest()[:8]}.diff"
    if not path.exists():
        with write_aside(path) as file:
            file.write(diff)
    return path.name


def _output(home: Path, *words: str) -> bytes:
    """What git prints, which takes no lock and tells of a large file only that it differs."""
    return subprocess.run(
        ["git", "-C", str(home), "-c", f"core.bigFileThreshold={MOST}", *words],
        capture_output=True,
        check=True,
        timeout=5,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    ).stdout
