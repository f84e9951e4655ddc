"""What safe checkpoints cost beside Lightning's own and a bare torch.save: seconds and memory.

    python benchmarks/checkpoints.py [--megabytes 200] [--rounds 7] [--folder .]

Every variant saves and loads once a round. Medians: seconds; their ratio to Lightning's in the same
round, with the smallest and the largest; the peak of memory beyond what was held before (on Linux),
which for a load has the tensors. Lightning's own and torch.save don't wait for the disk.
"""

import argparse
import ctypes
import gc
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lit_opt.engine.cli.quiet import quiet_warnings

quiet_warnings()
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from lit_opt.engine.runs.checkpoint_file import SafeCheckpointIO, fault

Work = Callable[[Path], object]


def variants(state: dict[str, Any]) -> dict[str, tuple[Work, Work]]:
    """Name -> how it saves and how it loads."""

    def of(io: CheckpointIO) -> tuple[Work, Work]:
        return (
            lambda path: io.save_checkpoint(state, path),
            lambda path: io.load_checkpoint(path, weights_only=True),
        )

    bare = (lambda path: torch.save(state, path), lambda path: torch.load(path, weights_only=True))
    return {
        "torch.save": bare,
        "Lightning": of(TorchCheckpointIO()),
        "lit-opt": of(SafeCheckpointIO()),
    }


def resident(key: str) -> float:
    """Megabytes of this process: VmRSS now, VmHWM at the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return float("nan")


def measure(work: Work, path: Path) -> tuple[float, float]:
    """Seconds, and megabytes at the peak beyond those before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory counts as held otherwise
    os.sync()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, began = resident("VmRSS"), time.perf_counter()
    result = work(path)
    seconds = time.perf_counter() - began
    del result
    return seconds, resident("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", default=".", help="on the disk to measure")
    options = parser.parse_args()
    weights = {f"weight{i}": torch.randn(options.megabytes * 12_500) for i in range(20)}
    state = {"state_dict": weights, "pytorch-lightning_version": "2.6.6"}
    seen: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for round_ in range(options.rounds + 1):
            for name, (save, load) in variants(state).items():
                path = Path(folder, name, "last.ckpt")
                path.parent.mkdir(exist_ok=True)
                works = {"saved": save, "loaded": load}
                if name == "lit-opt":
                    works["verified"] = fault
                for verb, work in works.items():
                    figures = measure(work, path)
                    if round_:
                        seen[name, verb].append(figures)
    print(f"{options.megabytes} MB, {options.rounds} rounds")
    for (name, verb), figures in seen.items():
        seconds, megabytes = zip(*figures, strict=True)
        lightning = seen["Lightning", verb if verb == "saved" else "loaded"]
        ratios = [own / other[0] for own, other in zip(seconds, lightning, strict=True)]
        print(
            f"  {name:12}{verb:9}{statistics.median(seconds):7.3f} s"
            f"{statistics.median(ratios):7.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            f"{statistics.median(megabytes):6.0f} MB"
        )


if __name__ == "__main__":
    main()
