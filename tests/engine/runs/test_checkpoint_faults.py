"""Faults of checkpoint files and of the disk, as `train.py` meets them."""

import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_checkpoint_file import Code, names

from lit_opt.engine.runs.checkpoint_file import fault
from lit_opt.module import LitModule

KEPT = Path("runs/a/checkpoints")
CONTINUE = [f"--ckpt_path={KEPT}/last.ckpt", "--no_test", "--epochs=4"]
TINY = ["--net.hidden=[8]", "--no_test"]


@pytest.fixture
def copy(trained) -> None:
    trained(*TINY, "--epochs=3")


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
    whole = trained(*TINY, "--epochs=4", name="whole") / "checkpoints/last.ckpt"
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
    for name, weight in torch.load(whole, weights_only=True)["state_dict"].items():
        assert weight.equal(cli.model.state_dict()[name])


# ---- the best checkpoint, where no further epoch is a better one

WORSE = ["--epochs=4", "--no_test", "--lr=0", "--optimizer=SGD"]
RESUME = ["--resume", "--name=a", *WORSE]


def test_the_best_so_far_stays_the_best_of_a_run_that_was_moved(copy, run):
    before = (KEPT / "best.ckpt").read_bytes()
    assert run(*RESUME).kept[0].best_model_path == str((KEPT / "best.ckpt").resolve())
    assert (KEPT / "best.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "words"),
    [(cut, RESUME), (Path.unlink, RESUME)]
    + [(None, [*RESUME, "--monitor=val/acc"]), (None, [*CONTINUE, "--name=b", *WORSE])],
)
def test_a_best_that_is_damaged_or_by_another_metric_or_in_another_folder_is_counted_anew(
    copy, run, capsys, damage, words
):
    if damage:
        damage(KEPT / "best.ckpt")
    best = run(*words).kept[0].best_model_path
    assert torch.load(best, weights_only=True)["epoch"] == 3
    if damage:
        [warning] = capsys.readouterr().err.splitlines()
        assert "best.ckpt' is not kept as the best checkpoint" in warning


# ---- the disk ----


def test_a_full_disk_or_a_file_in_place_of_the_folder_is_told_at_once(fails, capsys, monkeypatch):
    told = "error: can't write 1,204,264 bytes to 'runs/a': "
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
        assert fails("--name=a").startswith(f"{told}No space left on device\n")
    assert "epoch" not in capsys.readouterr().out
    assert not Path("runs").exists()
    Path("runs").write_text("")
    assert fails("--name=a").startswith("error: can't write to 'runs/a': Not a directory\n")


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
