"""Which folder a run has; a second process in it is refused, and a crash leaves no lock behind."""

import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.runs.folder import CHOSEN, FILES, folder_of, locked, probe, run_of

RUN = Path("runs/a")
fork = get_context("fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def test_a_named_run_is_refused_a_second_time_but_processes_of_lightning_share_it(monkeypatch):
    assert folder_of(Path(), "digits", "a") == RUN
    RUN.mkdir(parents=True)
    with pytest.raises(UserError, match="--name"):
        folder_of(Path(), "digits", "a")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert folder_of(Path(), "digits", "a") == RUN
    monkeypatch.delenv(CHOSEN)
    with pytest.raises(UserError):
        folder_of(Path(), "digits", "a")


def test_unnamed_runs_in_the_same_second_have_folders_of_their_own(monkeypatch):
    monkeypatch.setattr("time.strftime", lambda _: "now")
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: folder_of(Path("out"), "digits"), range(24)))
    names = ["digits-now", *(f"digits-now-{number}" for number in range(2, 25))]
    assert folders == {Path("out/runs", name) for name in names}
    assert all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_the_place_of_a_file_is_told_before_anything_is_read(run, fails, name):
    path = RUN / name
    path.mkdir(parents=True)
    assert f"'{path}' is a folder" in fails("--name=a", "--resume")
    assert [p for p in RUN.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\x80\xff\0", "is not text in UTF-8"), (b"", "has no keys"), (b"- 1", "has no keys")],
)
def test_a_damaged_config_of_a_run_is_told_and_left(run, fails, content, told):
    run("--epochs=1", "--name=a", "--no_test", "--limit_train_batches=2")
    (RUN / "config.yaml").write_bytes(content)
    assert f"runs/a/config.yaml {told}" in fails("--name=a", "--resume")
    assert (RUN / "config.yaml").read_bytes() == content


@pytest.mark.parametrize("note", [b"", b"\xff\0", b"[]"])
def test_a_run_whose_note_of_its_end_is_damaged_only_scores_again(run, note):
    words = ["--name=a", "--resume", "--epochs=1", "--limit_train_batches=2"]
    run(*words)
    before = {p: p.read_bytes() for p in RUN.glob("metrics.*")}
    whole = (RUN / ".finished").read_bytes()
    (RUN / ".finished").write_bytes(note)
    assert run(*words).trainer.global_step == 2
    assert {p: p.read_bytes() for p in RUN.glob("metrics.*")} == before
    assert (RUN / ".finished").read_bytes() == whole


def test_the_run_of_a_checkpoint(tmp_path):
    assert run_of(RUN / "checkpoints/best.ckpt") == tmp_path / RUN
    assert run_of(Path("moved.ckpt")) == tmp_path


def test_what_is_in_a_runs_way_goes_or_gets_another_name():
    """Under SLURM Lightning would start from an `hpc_ckpt_1.ckpt` that it finds in the folder."""
    (RUN / "checkpoints").mkdir(parents=True)
    for name in ("checkpoints/.last.ckpt.tmp", "hpc_ckpt_1.ckpt"):
        (RUN / name).touch()
    probe(RUN, 1)
    assert {path.name for path in RUN.rglob("*")} == {"checkpoints", "unused_hpc_1.ckpt"}


# ---- the lock


def hold(told: Connection) -> None:
    with locked(RUN):
        if worker := os.fork():
            told.send(worker)
        time.sleep(60)


@contextmanager
def other_process() -> Iterator[tuple[BaseProcess, int]]:
    """A process that holds the lock, and the worker that it has forked."""
    told, tells = fork.Pipe()
    process = fork.Process(target=hold, args=(tells,))
    process.start()
    worker = told.recv()
    try:
        yield process, worker
    finally:
        process.kill()
        process.join()
        os.kill(worker, signal.SIGKILL)


def test_a_killed_process_leaves_no_lock_even_if_a_worker_outlives_it():
    with other_process() as (process, worker):
        process.kill()
        process.join()
        with locked(RUN):
            assert (RUN / ".lock").read_text().startswith(f"process {os.getpid()} on ")
        os.kill(worker, 0)  # it lives


def test_the_lock_is_gone_after_the_run_well_or_not():
    with locked(RUN):
        assert RUN.is_dir()
    assert not RUN.exists()  # as it was left without files
    with pytest.raises(ValueError, match="out of luck"), locked(RUN):
        (RUN / "config.yaml").touch()
        raise ValueError("out of luck")
    with locked(RUN):
        pass
    assert (RUN / "config.yaml").exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_warned_of_once(monkeypatch, capsys, code):
    def lockf(file: object, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with locked(RUN):
        (RUN / "config.yaml").touch()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: 'runs/a' can't be locked ({os.strerror(code)})")


def test_a_folder_that_cannot_be_written_is_left_to_others():
    Path("runs").touch()
    with locked(RUN):
        pass


def test_a_fit_into_the_folder_of_another_is_refused_and_told_who_is_there(trained, run, fails):
    folder = trained("--epochs=1", "--no_test")
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != ".lock"}
    with other_process() as (process, _):
        error = fails("--resume", "--name=a", "--epochs=2", "--lr=0.5")
    assert error.startswith(f"error: process {process.pid} on ")
    assert "'runs/a'" in error
    assert len(error.splitlines()) == 2
    after = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != ".lock"}
    assert after == before
    run("--resume", "--name=a", "--epochs=2", "--no_test")  # the refused one holds nothing
