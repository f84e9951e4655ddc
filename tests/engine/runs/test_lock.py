"""A second process on a run folder is refused; a crash leaves no lock behind."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ROOT

from lit_opt.engine.errors import UserError
from lit_opt.engine.runs.lock import locked

RUN = Path("runs/a")
HOLD = """
    import os, sys, time
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from lit_opt.engine.runs.lock import locked
    with locked(Path("runs/a")):
        child = os.fork() if {forks} else 1
        if child:
            print(child, flush=True)
        time.sleep(60)
"""


@contextmanager
def other_process(forks: bool = False) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds the lock, and its child if it forks."""
    program = textwrap.dedent(HOLD).format(root=str(ROOT), forks=forks)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            process.kill()
            if forks:
                os.kill(child, signal.SIGKILL)


def test_a_second_process_is_refused_and_told_who_is_there():
    with other_process() as (process, _), pytest.raises(UserError) as caught, locked(RUN):
        pass
    assert len(str(caught.value).splitlines()) == 2
    assert f"process {process.pid} on " in str(caught.value)
    assert "'runs/a'" in str(caught.value)


def test_a_killed_process_leaves_no_lock():
    with other_process() as (process, _):
        process.kill()
        process.wait()
        with locked(RUN):
            assert (RUN / ".lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_worker_that_outlives_its_run_holds_no_lock():
    with other_process(forks=True) as (process, child):
        process.kill()
        process.wait()
        for _ in range(50):  # the fork itself may take its time
            with contextlib.suppress(UserError), locked(RUN):
                break
            time.sleep(0.1)
        os.kill(child, 0)  # it lives
        with locked(RUN):
            pass


def test_the_lock_is_gone_after_the_run_well_or_not():
    with pytest.raises(ValueError, match="out of luck"), locked(RUN):
        (RUN / "config.yaml").touch()
        raise ValueError("out of luck")
    with locked(RUN):
        pass
    assert (RUN / "config.yaml").exists()


def test_a_folder_left_without_files_goes():
    with locked(RUN):
        assert RUN.is_dir()
    assert not RUN.exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_warned_of_once(monkeypatch, capsys, code):
    def flock(file: object, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(RUN):
        (RUN / "config.yaml").touch()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: 'runs/a' can't be locked ({os.strerror(code)})")


def test_a_folder_that_cannot_be_written_is_left_to_others():
    Path("runs").touch()
    with locked(RUN):
        pass


def test_a_fit_into_the_folder_of_another_is_refused(run, fails, monkeypatch):
    folder = run("--epochs=1", "--name=a", "--no_test").folder
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != ".lock"}
    monkeypatch.setattr("lit_opt.engine.cli.run.new_run", lambda *_: RUN)
    with other_process():
        error = fails("--epochs=1", "--lr=0.5", "--no_test")
    assert len(error.splitlines()) <= 3
    assert "'runs/a'" in error
    after = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != ".lock"}
    assert after == before
    run("--epochs=1", "--no_test")  # the refused one holds nothing
