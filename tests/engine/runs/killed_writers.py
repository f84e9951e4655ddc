"""Kills processes with SIGKILL while they write checkpoints: `killed_writers.py FOLDER KILLS`.

Prints how many died with a half-written file, and fails where a saved checkpoint is lost.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from lit_opt.engine.runs.checkpoint_file import SafeCheckpointIO, newest_valid

FOLDER, KILLS = Path(sys.argv[1]), int(sys.argv[2])
IO = SafeCheckpointIO()
WEIGHTS = {f"weight{i}": torch.randn(100_000) for i in range(10)}  # 4 MB


def write(epoch: int, pipe: int) -> None:
    while True:
        content = {"state_dict": WEIGHTS, "epoch": epoch, "pytorch-lightning_version": "2.6.6"}
        IO.save_checkpoint(content, FOLDER / "last.ckpt")
        os.write(pipe, epoch.to_bytes(4, "big"))
        epoch += 1


def kill_one(epoch: int) -> int:
    """A process that saves `epoch` and later ones until it is killed; the last that it reported."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        write(epoch, writing)
    os.close(writing)
    os.read(reading, 4)
    time.sleep(random.uniform(0, 0.1))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as pipe:
        return epoch + len(pipe.read()) // 4


def main() -> None:
    reported = half = 0
    for _ in range(KILLS):
        reported = kill_one(reported + 1)
        half += any(FOLDER.glob(".*.tmp"))
        newest = newest_valid(FOLDER)
        assert newest is not None
        saved = IO.load_checkpoint(newest)["epoch"]
        assert reported <= saved <= reported + 1, (newest, saved, reported)
        reported = saved
    print(half)


main()
