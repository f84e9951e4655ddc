"""Promise 4 on two processes: every sample counts exactly once. On CPUs, over gloo."""

import os
import re
import signal
import subprocess
import sys
import time
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from conftest import ROOT
from sabotage import Run

TWO = ["--accelerator=cpu", "--devices=2"]


def process(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tests/digits_program.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def command(*words: str) -> str:
    done = process(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], TWO, ["--ema=0.9", *TWO]])
def test_one_or_two_processes_train_in_one_run_folder_and_score_exactly_what_one_does(words):
    """And print its lines and nothing else."""
    printed = command("--epochs=2", "--name=a", *words)
    assert [line.split()[0] for line in printed.splitlines()] == (
        ["MLP,", "Digits,", "epoch", "epoch", "best", "Validation", "Test", "report:", "run"]
    )
    [pair] = re.findall("Test Error: .*", printed)
    best = "--ckpt_path=runs/a/checkpoints/best.ckpt"
    assert command("test", best, "--devices=1").strip() == pair
    assert command("test", best, *TWO).strip() == pair


class KeepsTheInterpreter(pl.Callback):
    """Gives it to other threads only where it waits, so that gloo's end late."""

    def on_train_start(self, *args: Any) -> None:
        sys.setswitchinterval(100)


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--callbacks+=test_processes.KeepsTheInterpreter"]])
def test_two_processes_stop_together_at_a_loss_of_nan_and_one_tells_why(words):
    """And none aborts, as gloo's threads have ended before the interpreter does."""
    done = process("--optimizer=SGD", "--lr=1e30", "--epochs=2", *words, *TWO)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the loss is nan or inf at step 2 ")
    assert len(done.stderr.splitlines()) == 2


def children(run: Run) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True).stdout
    return [int(line) for line in listed.split()]


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_is_told_in_one_line_and_the_run_goes_on(lost):
    words = ["--name=a", "--epochs=2", "--no_test", "--callbacks+=sabotage.Hold", *TWO]
    run = Run(*words, HOLD="step 15").held(2)
    os.kill([run.pid, *children(run)][lost], signal.SIGKILL)
    code = run.go().end()[0]
    deadline = time.monotonic() + 20  # an orphan tells it after the process that we started
    while not (error := run.read()[1]) and time.monotonic() < deadline:
        time.sleep(0.1)
    seen = "process 0 of 2 ended" if lost == 0 else "process 1 of 2 ended (exit 9)"
    assert error == f"error: {seen}; the run can be resumed with --name a --resume\n"
    assert code == (1 if lost else -9)
    assert Run(*words, "--resume").end()[0] == 0


class Leaves(pl.Callback):
    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 3 and trainer.global_rank == 0:
            raise SystemExit(0)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_an_exit_with_status_0_within_a_fit_is_no_success(devices):
    words = ["--callbacks+=test_processes.Leaves", f"--devices={devices}", "--accelerator=cpu"]
    code, _, error = Run("--name=a", *words).end()
    assert code == 1
    assert error == "error: an exit with status 0 within train: the run is not finished\n"


@pytest.mark.slow
def test_lbfgs_on_two_processes_ends_where_it_does_on_one():
    """The two halves of each batch are the whole batch that one process has."""
    common = ["--epochs=1", "--limit_train_batches=4", "--optimizer=LBFGS", "--no_test"]
    common += ["--optimizer.line_search_fn=strong_wolfe", "--precision=64-true", "--net.hidden=[8]"]
    assert Run("--name=two", *common, "--batch_size=64", *TWO).end()[::2] == (0, "")
    assert Run("--name=one", *common, "--batch_size=128", "--devices=1").end()[::2] == (0, "")
    two, one = (
        torch.load(f"runs/{name}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("two", "one")
    )
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_fewer_samples_than_processes_are_refused_in_words():
    code, _, error = Run("--val_fraction=0.0007", "--name=a", *TWO).end()
    assert code == 2
    assert "has 1 samples for 2 processes; expected one each: lower --devices" in error


@pytest.mark.slow
def test_fsdp_needs_a_gpu_and_says_so():
    code, _, error = Run("--strategy=fsdp", *TWO).end()
    assert (code, len(error.splitlines())) == (2, 1)
    assert "`fsdp` requires a GPU" in error


@pytest.mark.slow
def test_a_frozen_part_stays_and_then_trains_alike_on_two_processes():
    """Steps over the whole training set, which order and processes don't change."""
    freeze = "[{class_path: Freeze, init_args: {epochs: 2, part: net, but: [net.layers.3]}}]"
    words = [f"--callbacks={freeze}", "--net.hidden=[16]", "--optimizer=SGD", "--lr=0.1"]
    words += ["--no_test", "--log_every_n_steps=1"]
    ddp = [*TWO, "--strategy=ddp_find_unused_parameters_true", "--batch_size=647"]
    command(*words, "--epochs=4", "--name=one", "--batch_size=1294")
    assert process(*words, "--epochs=4", "--name=two", *ddp).returncode == 0  # torch warns
    weights = [
        torch.load(f"runs/{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in ("one", "two")
    ]
    torch.testing.assert_close(*weights)
