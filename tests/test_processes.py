"""Promise 4 on two processes: every sample counts exactly once. On CPUs, over gloo."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

TWO = ["--accelerator=cpu", "--devices=2"]


def command(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--ema=0.9"]], ids=str)
def test_two_processes_train_in_one_run_folder_and_score_exactly_what_one_does(words):
    printed = command("--epochs=2", "--name=a", *words, *TWO)
    assert [line.split()[0] for line in printed.splitlines()] == (
        ["MLP,", "epoch", "epoch", "Validation", "Test", "run"]
    )
    [pair] = re.findall("Test Error: .*", printed)
    best = "--ckpt_path=runs/a/checkpoints/best.ckpt"
    assert command("test", best, "--devices=1").strip() == pair
    assert command("test", best, *TWO).strip() == pair
