from pathlib import Path

import pytest

from lit_opt.engine.errors import UserError
from lit_opt.engine.runs.folder import CHOSEN, new_run, probe, run_of


def test_a_named_run_is_refused_a_second_time():
    assert new_run(Path(), "digits", "a") == Path("runs/a")
    Path("runs/a").mkdir(parents=True)
    with pytest.raises(UserError, match="--name"):
        new_run(Path(), "digits", "a")


def test_two_unnamed_runs_in_the_same_second_have_two_folders(monkeypatch):
    monkeypatch.setattr("time.strftime", lambda _: "now")
    first = new_run(Path("out"), "digits")
    first.mkdir(parents=True)
    assert (first, new_run(Path("out"), "digits")) == (
        Path("out/runs/digits-now"),
        Path("out/runs/digits-now-2"),
    )


def test_processes_that_lightning_starts_share_the_folder(monkeypatch):
    first = new_run(Path(), "digits", "a")
    first.mkdir(parents=True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert new_run(Path(), "digits", "a") == first
    monkeypatch.delenv(CHOSEN)
    with pytest.raises(UserError):
        new_run(Path(), "digits", "a")


def test_the_run_of_a_checkpoint(tmp_path):
    assert run_of(Path("runs/a/checkpoints/best.ckpt")) == tmp_path / "runs/a"
    assert run_of(Path("moved.ckpt")) == tmp_path


def test_what_is_in_a_runs_way_goes_or_gets_another_name():
    """Under SLURM Lightning would start from an `hpc_ckpt_1.ckpt` that it finds in the folder."""
    folder = Path("runs/a/checkpoints")
    folder.mkdir(parents=True)
    for path in (folder / ".last.ckpt.tmp", folder.parent / "hpc_ckpt_1.ckpt"):
        path.touch()
    probe(folder.parent, 1)
    left = {path.name for path in folder.parent.rglob("*")}
    assert left == {"checkpoints", "unused_hpc_1.ckpt"}
