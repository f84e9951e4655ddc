"""Faults of checkpoint files and of the disk, as `train.py` meets them."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, main
from test_checkpoint_file import Code, names

from lit_opt.engine.runs.checkpoint_file import fault, newest_valid
from lit_opt.module import LitModule

KEPT = Path("runs/a/checkpoints")
CONTINUE = [f"--ckpt_path={KEPT}/last.ckpt", "--no_test", "--epochs=4"]
TINY = ["--net.hidden=[8]", "--no_test"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with the runs `a` of three epochs and `whole` of four."""
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("trained"))
    os.environ.pop("LIT_OPT_RUN", None)
    try:
        main([*TINY, "--name=a", "--epochs=3"])
        main([*TINY, "--name=whole", "--epochs=4"])
        return Path("runs").resolve()
    finally:
        os.chdir(here)


@pytest.fixture
def copy(trained) -> None:
    shutil.copytree(trained / "a", "runs/a")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


DAMAGE: dict[str, Callable[[Path], object]] = {  # all kinds are in test_checkpoint_file.py
    "truncated": cut,
    "code": lambda path: torch.save({"state_dict": Code()}, path),
    "absent": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_fit_goes_on_from_the_previous_checkpoint_other_commands_refuse(
    trained, copy, run, fails, capsys, damage
):
    before = {path.name: path.read_bytes() for path in KEPT.iterdir()}
    damage(KEPT / "last.ckpt")
    for command in ("test", "validate", "predict"):
        assert f"{KEPT}/last.ckpt" in fails(command, f"--ckpt_path={KEPT}/last.ckpt")
    cli = run(*CONTINUE, "--name=b")
    [warning] = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: '{KEPT}/last.ckpt': ")
    assert warning.endswith("; continuing from previous.ckpt")
    assert not Path("ran").exists()
    assert (KEPT / "previous.ckpt").read_bytes() == before["previous.ckpt"]
    assert (KEPT / "best.ckpt").read_bytes() == before["best.ckpt"]
    whole = torch.load(trained / "whole/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for name, weight in cli.model.state_dict().items():
        assert weight.equal(whole[name])


def test_no_checkpoint_to_go_on_from_is_an_error(copy, fails):
    for name in ("last", "previous"):
        cut(KEPT / f"{name}.ckpt")
    error = fails(*CONTINUE, "--name=b")
    assert "last.ckpt" in error
    assert "previous.ckpt" in error
    assert not Path("runs/b").exists()


# ---- the best checkpoint, where no further epoch is a better one

WORSE = ["--epochs=4", "--no_test", "--lr=0", "--optimizer=SGD"]
RESUME = ["--resume", "--name=a", *WORSE]


def test_the_best_so_far_stays_the_best_of_a_run_that_was_moved(copy, run):
    before = (KEPT / "best.ckpt").read_bytes()
    assert run(*RESUME).kept[0].best_model_path == str((KEPT / "best.ckpt").resolve())
    assert (KEPT / "best.ckpt").read_bytes() == before


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_a_damaged_best_is_counted_anew(copy, run, capsys, damage):
    damage(KEPT / "best.ckpt")
    run(*RESUME)
    [warning] = capsys.readouterr().err.splitlines()
    assert "best.ckpt' is not kept as the best checkpoint" in warning
    assert torch.load(KEPT / "best.ckpt", weights_only=True)["epoch"] == 3


@pytest.mark.parametrize("words", [[*RESUME, "--monitor=val/acc"], [*CONTINUE, "--name=b", *WORSE]])
def test_the_best_by_another_metric_or_in_another_folder_is_counted_anew(copy, run, words):
    best = run(*words).kept[0].best_model_path
    assert torch.load(best, weights_only=True)["epoch"] == 3


# ---- the disk ----


def at_epoch(number: int, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    def hook(self: LitModule) -> None:
        if self.current_epoch == number:
            happens()

    monkeypatch.setattr(LitModule, "on_train_epoch_start", hook)


def test_a_full_disk_is_told_before_the_training(fails, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    told = "error: can't write 1,204,264 bytes to 'runs/a': No space left on device\n"
    assert fails("--name=a").startswith(told)
    assert "epoch" not in capsys.readouterr().out
    assert not Path("runs/a").exists()


def test_a_file_in_place_of_the_folder_is_told_before_the_training(fails):
    Path("runs").write_text("")
    assert fails("--name=a").startswith("error: can't write 1,204,264 bytes to 'runs/a': ")


def test_a_disk_that_fills_up_fails_the_run_and_keeps_what_is_there(fails, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def hook(self: LitModule) -> None:
        if self.current_epoch == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))

    monkeypatch.setattr(LitModule, "on_train_epoch_start", hook)
    try:
        error = fails("--name=a", code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{KEPT.resolve()}/" in error
    assert "File too large" in error
    assert names(KEPT) == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    assert [fault(path) for path in KEPT.iterdir()] == [None] * 3
    assert torch.load(KEPT / "last.ckpt", weights_only=True)["epoch"] == 1


# ---- kill -9

SAME_THREADS = {**os.environ, "OMP_NUM_THREADS": "1"}  # as in this process, for the bits


@pytest.mark.slow
def test_a_fit_that_is_killed_in_a_write_is_continued_to_the_same_weights(run):
    wide = ["--net.hidden=[800,800]", "--epochs=4", "--no_test"]
    fit = [sys.executable, str(ROOT / "train.py"), "fit", *wide, "--name=a"]
    with subprocess.Popen(fit, env=SAME_THREADS, stdout=subprocess.DEVNULL) as process:
        while not (KEPT / "previous.ckpt").exists() or not any(KEPT.glob(".last.ckpt.tmp")):
            assert process.poll() is None
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
    assert any(KEPT.glob(".*.tmp"))
    assert newest_valid(KEPT) == KEPT / "last.ckpt"
    continued = run("fit", f"--ckpt_path={KEPT}/last.ckpt", *wide, "--name=b")
    whole = run("fit", *wide)
    for a, b in zip(continued.model.parameters(), whole.model.parameters(), strict=True):
        assert a.equal(b)
