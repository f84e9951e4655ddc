"""Promise 4 on two processes: every sample counts exactly once. On CPUs, over gloo."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

TWO = ["--accelerator=cpu", "--devices=2"]


def process(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def command(*words: str) -> str:
    done = process(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], TWO, ["--ema=0.9", *TWO]], ids=str)
def test_one_or_two_processes_train_in_one_run_folder_and_score_exactly_what_one_does(words):
    """And print its lines and nothing else."""
    printed = command("--epochs=2", "--name=a", *words)
    assert [line.split()[0] for line in printed.splitlines()] == (
        ["MLP,", "epoch", "epoch", "Validation", "Test", "run"]
    )
    [pair] = re.findall("Test Error: .*", printed)
    best = "--ckpt_path=runs/a/checkpoints/best.ckpt"
    assert command("test", best, "--devices=1").strip() == pair
    assert command("test", best, *TWO).strip() == pair


@pytest.mark.slow
def test_two_processes_stop_together_at_a_loss_of_nan_and_one_tells_why():
    done = process("--optimizer=SGD", "--lr=1e30", "--epochs=2", *TWO)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the loss is nan or inf at step 2 ")
    assert len(done.stderr.splitlines()) == 2
