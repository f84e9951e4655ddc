"""Stopped, killed or misused from outside: a plain word, and the same command mends it to the bit.

More situations to resume in, within one process, are in engine/runs/resume; damaged files in
engine/runs/test_checkpoint_faults.py.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from sabotage import TRAIN, VARIABLES, Run

TERM, INT, KILL = signal.SIGTERM, signal.SIGINT, signal.SIGKILL
COMMAND = [  # 21 steps an epoch, 9 batches a validation
    *("--name=x", "--resume", "--epochs=3", "--net.hidden=[32]", "--net.dropout=0.2"),
    *("--eval_batch_size=16", "--allow=sabotage", "--callbacks+=sabotage.Hold"),
]
FIVE = [f"step {step}" for step in (3, 21, 34, 42, 59)]  # 21 and 42 end an epoch
TWO = ["--accelerator=cpu", "--devices=2", "--strategy=ddp"]
SLURM = {
    **{f"SLURM_{name}": "0" for name in ("PROCID", "LOCALID", "NODEID")},
    **{f"SLURM_{name}": "1" for name in ("NTASKS", "NTASKS_PER_NODE", "NNODES")},
    **{"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "x", "SLURM_NODELIST": "localhost"},
}
DOCUMENTED = {
    *(".finished", ".lock", "config.yaml", "environment.json", "metrics.csv", "metrics.json"),
    *(f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous")),
    *("outcomes.json", "report.html"),
}
# Files for every start and for every state of the code.
NUMBERED = ("events.out.tfevents.", "uncommitted-", "unused_hpc_")
Ended = tuple[int, str, str]


def digest(folder: Path = Path()) -> dict[str, str]:
    """Of all that a run is for."""
    run = folder / "runs/x"
    found = {name: (run / name).read_text() for name in ("metrics.csv", "metrics.json")}
    for name in ("best", "last"):
        weights = torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
        values = b"".join(key.encode() + weights[key].numpy().tobytes() for key in sorted(weights))
        found[name] = hashlib.sha256(values).hexdigest()
    return found


def files(run: Path = Path("runs/x")) -> dict[str, bytes]:
    """Without those that a refused start may touch."""
    paths = [path for path in run.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


def assert_told(ended: Ended, status: int, *named: str, lines: int = 4) -> None:
    found, _, error = ended
    assert found == status, error
    assert 0 < len(error.strip().splitlines()) <= lines, error
    assert "Traceback" not in error
    for text in named:
        assert text in error


def assert_ends_like(whole: dict[str, str], *words: str, **variables: str) -> None:
    """The same command ends as if it had never been interrupted, and leaves nothing behind."""
    status, _, error = Run(*COMMAND, *words, **variables).end()
    assert (status, error) == (0, "")
    assert digest() == whole
    names = {n for n in [*files(), ".lock"] if not n.startswith(NUMBERED)}
    assert names == DOCUMENTED


def uninterrupted(folder: Path, *words: str) -> dict[str, str]:
    status, _, error = Run(*COMMAND, *words, folder=folder).end()
    assert (status, error) == (0, "")
    return digest(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return uninterrupted(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def whole_of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return uninterrupted(tmp_path_factory.mktemp("two"), *TWO)


# ---- kill -9


@pytest.mark.slow
@pytest.mark.parametrize("moments", [["step 37"], FIVE, ["end"], ["fit end"], ["test"]])
def test_killed(whole, moments):
    for moment in moments:
        assert Run(*COMMAND, HOLD=moment).held().send(KILL).end()[0] == -KILL
    assert_ends_like(whole)


# ---- SIGTERM and Ctrl-C

IN_TRAINING = [(TERM, "step 30", 0), (TERM, "fit 42", 0), (TERM, "epoch 1", 0), (TERM, "end", 0)]
IN_TRAINING += [(INT, "step 30", 0), (INT, "fit 42", 0), (TERM, "step 30", 2), (TERM, "fit 42", 2)]
IGNORED = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by nohup
NOHUP = pytest.mark.skipif(IGNORED, reason="processes ignore what their parents do")
IN_TRAINING += [pytest.param(signal.SIGHUP, "step 30", 0, marks=NOHUP)]
OUTSIDE = [(n, moment) for n in (TERM, INT) for moment in ("sanity 0", "validate 63", "test")]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "moment", "workers"), IN_TRAINING)
def test_a_signal_saves(whole, number, moment, workers):
    run = Run(*COMMAND, f"--num_workers={workers}", HOLD=moment).held()
    told = (f"{number.name} at step", "runs/x/checkpoints/last.ckpt")
    stopped = run.send(number, group=workers > 0).go().end()
    assert_told(stopped, 128 + number, *told, lines=2 if number == INT else 1)
    assert_ends_like(whole)  # without workers


@pytest.mark.slow
@pytest.mark.parametrize(("number", "moment"), [(TERM, "start"), *OUTSIDE])
def test_a_signal_outside_of_the_training_ends_at_once(whole, number, moment):
    stopped = Run(*COMMAND, HOLD=moment).held().send(number).go().end()
    assert_told(stopped, 128 + number, number.name, lines=1)
    assert_ends_like(whole)


@pytest.mark.slow
def test_sigterm_while_it_starts(whole):
    """With nothing forked."""
    command = [sys.executable, str(TRAIN), *COMMAND]
    start = {"env": os.environ | VARIABLES, "text": True, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **start) as process:
        time.sleep(1)
        process.terminate()
        assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == -TERM
    assert_ends_like(whole)


@pytest.mark.slow
def test_ctrl_c_twice_ends_at_once(whole):
    run = Run(*COMMAND, HOLD="step 30").held().send(INT)
    time.sleep(0.5)
    assert run.process.is_alive()  # it waits for the step
    assert_told(run.send(INT).end(5), 130, "Ctrl-C again", lines=1)
    assert_ends_like(whole)


# ---- several processes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "group", "told"),
    [("step 15", True, " at step"), ("before fit 22", False, " at step"), ("test", False, "")],
)
def test_sigterm_to_one_or_all_of_two_processes(whole_of_two, moment, group, told):
    run = Run(*COMMAND, *TWO, HOLD=moment).held(2).send(TERM, group)
    ended = run.go().end() if told else run.end()
    assert_told(ended, 143, f"SIGTERM{told}", lines=1)  # the other one has nothing to add
    assert_gone(run.pid)
    assert_ends_like(whole_of_two, *TWO)


def assert_gone(group: int) -> None:
    """All processes of a run, within seconds of the first."""
    deadline = time.monotonic() + 15
    while _alive(group):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(group: int) -> list[str]:
    """Whatever adopts the orphans may be slow to bury them."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [state for number, state in rows if int(number) == group and state[0] != "Z"]


# ---- SLURM


@pytest.mark.slow
def test_slurm_requeues_if_asked_to(whole):
    """By Lightning; the end of the job, which SLURM asks for by SIGTERM, is as any other's.

    A checkpoint of Lightning's for SLURM, of another run, changes nothing.
    """
    Path("runs/x").mkdir(parents=True)
    for place in (Path(), Path("runs/x")):
        torch.save({"state_dict": {}}, place / "hpc_ckpt_1.ckpt")
    Path("bin").mkdir()
    Path("bin/scontrol").write_text('#!/bin/sh\necho "$@" >> requeued\nkill -TERM $PPID\n')
    Path("bin/scontrol").chmod(0o755)
    variables = {**SLURM, "PATH": f"{Path('bin').absolute()}:{os.environ['PATH']}"}
    words = ["--plugins+=lightning.pytorch.plugins.environments.SLURMEnvironment"]
    run = Run(*COMMAND, *words, HOLD="step 30", **variables).held().send(signal.SIGUSR1)
    while not Path("requeued").exists():
        assert run.process.is_alive(), run.read()
    assert_told(run.go().end(), 143, "SIGTERM at step 30: saved", lines=5)  # 4 are Lightning's
    assert Path("requeued").read_text() == "requeue 4711\n"
    assert_ends_like(whole, *words, **variables)


# ---- code


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["step 30", "fit 42", "end"])
def test_an_exception_in_a_hook(whole, moment):
    assert_told(Run(*COMMAND, BREAK=moment).end(), 1, "ValueError: out of luck", lines=3)
    assert_ends_like(whole)
