"""The Dockerfile and the sbatch script: what they say, and that their runs end and go on."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from recorder import weights

DOCKERFILE = (ROOT / "Dockerfile").read_text()
RUN = [sys.executable, str(ROOT / "tests/digits_program.py")]
FEW = ["--epochs=40", "--no_test", "--accelerator=cpu"]
VARIABLES = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def test_the_image_runs_python_itself_as_no_root_on_files_that_are_there():
    assert re.search(r'^ENTRYPOINT \["python", "train.py"\]$', DOCKERFILE, re.MULTILINE)
    assert re.search(r"^USER (?!root)\w+$", DOCKERFILE, re.MULTILINE)
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY")]
    assert [path for paths in copied for path in paths if not (ROOT / path).exists()] == []


def begun(run: str, process: subprocess.Popen) -> None:
    """Waits until a run has trained an epoch."""
    deadline = time.monotonic() + 120
    while not Path(f"runs/{run}/checkpoints/last.ckpt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root, unshare")
def test_the_first_process_of_a_container_saves_and_leaves():
    """PID 1, for which the kernel ignores what has no handler."""
    command = ["unshare", "--fork", "--pid", "--mount-proc", *RUN, "--name=a", *FEW]
    with subprocess.Popen(command, env=VARIABLES, start_new_session=True) as process:
        begun("a", process)
        [inside] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(inside), signal.SIGTERM)
        assert process.wait(60) == 143
    subprocess.run([*RUN, "--name=a", "--resume", *FEW], env=VARIABLES, check=True)
    subprocess.run([*RUN, "--name=whole", *FEW], env=VARIABLES, check=True)
    assert weights("a") == weights("whole")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root, unshare")
def test_the_first_process_of_a_container_leaves_while_it_imports():
    command = ["unshare", "--fork", "--pid", "--mount-proc", *RUN, "--name=a", *FEW]
    with subprocess.Popen(command, env=VARIABLES) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        listens = 1 << signal.SIGTERM - 1
        deadline = time.monotonic() + 60
        while not (found := children.read_text().split()) or not _caught(found[0]) & listens:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(int(found[0]), signal.SIGTERM)
        assert process.wait(60) == 143
    assert not Path("runs").exists()


def _caught(pid: str) -> int:
    """The signals that a process has handlers for, a bit each."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)[1], 16)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_job_of_slurm_is_queued_again_and_goes_on(tmp_path):
    """With a srun that runs what it is given, and a scontrol that notes what it is told."""
    tools = tmp_path / "tools"
    tools.mkdir()
    python = " ".join(RUN)
    for name, text in (
        ("srun", f'shift 2; exec {python} "$@"'),  # for `python train.py`
        ("scontrol", 'echo "$@" >> requeued'),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "digits", "SLURM_NTASKS": "1"}
    slurm |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NNODES": "1"}
    slurm |= {"SLURM_NTASKS_PER_NODE": "1", "SLURM_NODELIST": "localhost"}
    variables = {**VARIABLES, **slurm, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    job = ["bash", str(ROOT / "scripts/train.sbatch"), *FEW]
    with subprocess.Popen(job, env=variables) as process:
        begun("digits-7", process)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(60) == 143
    assert Path("requeued").read_text() == "requeue 7\n"
    assert subprocess.run(job, env=variables).returncode == 0
    subprocess.run([*RUN, "--name=whole", *FEW], env=VARIABLES, check=True)
    assert weights("digits-7") == weights("whole")
    assert Path("requeued").read_text() == "requeue 7\n"
