"""Stopped anywhere and run again with the same command, a run ends as if nothing had been."""

import os
import signal
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from conftest import main

from lit_opt.engine.callbacks import ChangeHyperparameters

BASE = ["--name=x", "--resume", "--epochs=3", "--net=MLP", "--net.hidden=[32]"]
BASE += ["--net.dropout=0.2", "--crop_padding=1", "--scheduler=OneCycleLR", "--log_every_n_steps=5"]
EXPECTED: dict[tuple[str, ...], dict] = {}  # of whole runs


class At(pl.Callback):
    """Sends this process SIGTERM after optimizer step `step`, or in the validation after it."""

    step = 0
    in_validation = False

    def on_train_batch_end(self, trainer, *args, validates=False):
        if trainer.global_step == At.step and At.in_validation == validates:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation_batch_end(self, trainer, *args):
        self.on_train_batch_end(trainer, validates=True)


class SmallerBatches(ChangeHyperparameters):
    """Inside the second epoch, where there are two validations an epoch."""

    def change(self, metrics, hparams):
        self.memory["calls"] = self.memory.get("calls", 0) + 1
        assert hparams["batch_size"] == (64 if self.memory["calls"] <= 3 else 32)
        return {"batch_size": 32} if self.memory["calls"] == 3 else {}


class BreakTest(pl.Callback):
    broken = True

    def on_test_start(self, trainer, pl_module):
        if BreakTest.broken:
            raise ValueError("out of luck")


def go(*words: str) -> int:
    try:
        main([*BASE, *words])
    except SystemExit as exit_:
        return exit_.code
    return 0


def digest() -> dict:
    run = Path("runs/x")
    last = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    best = run / "checkpoints/best.ckpt"
    return {
        "weights": {k: v.tolist() for k, v in last["state_dict"].items()},
        "best": best.exists() and str(torch.load(best, weights_only=True)["state_dict"]),
        "step": last["global_step"],
        "epoch": last["epoch"],
        "optimizer": str(last["optimizer_states"]),
        "schedule": str(last["lr_schedulers"]),
        "curves": (run / "metrics.csv").read_text(),
        "scores": [path.read_text() for path in run.glob("metrics.json")],
    }


def uninterrupted(words: list[str]) -> dict:
    if (*words,) not in EXPECTED:
        assert go(*words) == 0
        EXPECTED[(*words,)] = digest()
        Path("runs").rename("whole")
    return EXPECTED[(*words,)]


PLATEAU = ["--scheduler=ReduceLROnPlateau", "--scheduler.patience=0", "--scheduler.threshold=0.9"]
STOPS_EARLY = ["--callbacks+=EarlyStopping", "--callbacks.monitor=val/loss"]
STOPS_EARLY += ["--callbacks.patience=0"]
ACCUMULATE = ["--accumulate_grad_batches=4"]
HALF = ["--val_check_interval=0.5"]
LIMIT = ["--limit_train_batches=8"]
# 21 batches an epoch; with HALF, validated at 10 and 20 of them
SITUATIONS = [([], 30), (ACCUMULATE, 9), (HALF, 52), (["--steps_per_execution=4"], 29)]
SITUATIONS += [(["--ema=0.99"], 30), (["--mixup=0.2", "--erasing=0.5", "--flip=true"], 30)]
SMALLER = [*HALF, f"--callbacks+={__name__}.SmallerBatches"]
SITUATIONS += [(["--max_steps=30"], 21), (SMALLER, 35), (SMALLER, 50)]
MORE = [([], 42), (["--num_workers=2"], 30), (LIMIT, 12)]  # 42 is the end of an epoch
MORE += [(["--max_steps=50"], 30), (["--max_steps=50"], 42), (PLATEAU, 30), (PLATEAU, 42)]
MORE += [(["--scheduler=null", "--callbacks+=HalveWhenStuck"], 30), (STOPS_EARLY, 30)]
MORE += [(["--val_fraction=0", "--no_test"], 30), (["--check_val_every_n_epoch=2"], 30)]
MORE += [(["--optimizer=SGD", "--optimizer.momentum=0.9", "--precision=bf16-mixed"], 30)]
MORE += [(["--val_check_interval=30", "--check_val_every_n_epoch=null"], 29)]
MORE += [([*STOPS_EARLY, "--epochs=4", "--min_epochs=3", "--lr=0.3"], 50)]
MORE += [(SMALLER, 42), (["--drop_last=true"], 30)]
MORE += [(["--steps_per_execution=4", "--max_steps=50"], 21)]
MORE += [(["--check_val_every_n_epoch=2"], 21)]


IN_VALIDATION = [([], 42), (HALF, 52), (["--ema=0.99"], 42), (ACCUMULATE, 12)]
ALL = [(*situation, False) for situation in SITUATIONS]
ALL += [(*situation, True) for situation in IN_VALIDATION]
ALL += [pytest.param(*situation, False, marks=pytest.mark.slow) for situation in MORE]


@pytest.mark.parametrize(("words", "step", "in_validation"), ALL)
def test_a_stopped_run_ends_like_the_uninterrupted_one(words, step, in_validation):
    expected = uninterrupted(words)
    At.step, At.in_validation = step, in_validation
    assert go(*words, f"--callbacks+={__name__}.At") == 143
    At.step = -1
    assert go(*words, f"--callbacks+={__name__}.At") == 0
    found = digest()
    for key, value in expected.items():
        assert found[key] == value, key


EARLY = [*STOPS_EARLY, "--scheduler=null", "--lr=0.05", "--epochs=12"]


@pytest.mark.parametrize("words", [EARLY, ["--max_steps=30"]], ids=["early stop", "max_steps"])
def test_a_run_that_has_ended_and_died_in_its_test_trains_no_further(words):
    expected = uninterrupted(words)
    assert expected["epoch"] < 11
    BreakTest.broken = True
    assert go(*words, f"--callbacks+={__name__}.BreakTest") == 1
    BreakTest.broken = False
    assert go(*words, f"--callbacks+={__name__}.BreakTest") == 0
    assert digest() == expected
    more = ["--epochs=13"] if words is EARLY else ["--max_steps=50"]
    assert go(*words, *more) == 0  # another length is a reason to go on
    assert digest()["epoch"] > expected["epoch"]


# 21 batches an epoch: cut inside the second one, at a validation, or at the end of an epoch
CUTS = [([], "30", ["--max_steps=50"]), (HALF, "31", ["--max_steps=-1"])]
CUTS_TOO = [([], "42", ["--max_steps=50"]), (ACCUMULATE, "8", ["--max_steps=11"])]
CUTS_TOO += [(["--steps_per_execution=4", "--log_every_n_steps=50"], "30", ["--max_steps=50"])]
CUTS_TOO += [(["--val_check_interval=30", "--check_val_every_n_epoch=null"], "30", CUTS[0][2])]
CUTS_TOO += [(["--ema=0.9"], "30", CUTS[0][2]), (PLATEAU, "30", CUTS[0][2])]
CUTS_TOO += [(["--num_workers=1", "--log_every_n_steps=1"], "3", ["--max_steps=-1"])]


@pytest.mark.parametrize(
    ("words", "first", "more"),
    [*CUTS, *(pytest.param(*row, marks=pytest.mark.slow) for row in CUTS_TOO)],
    ids=str,
)
def test_an_epoch_that_max_steps_has_cut_goes_on_in_a_longer_run(words, first, more):
    words = ["--scheduler=null", *words]
    expected = uninterrupted([*words, *more])
    assert go(*words, "--max_steps", first) == 0
    assert go(*words, *more) == 0
    found = digest()
    for key, value in expected.items():
        assert found[key] == value, key


def test_a_resume_that_can_not_be_had_changes_nothing(capsys):
    At.step, At.in_validation = 30, False
    assert go(f"--callbacks+={__name__}.At") == 143
    before = {path: path.read_bytes() for path in Path("runs/x").rglob("*.[yc]*")}
    told = ["inside epoch 2", "--batch_size 64; now it is 32", "do not fit --net"]
    for words, named in (["--batch_size=32"], told[:2]), (["--net.hidden=[16]"], told[2:]):
        assert go(f"--callbacks+={__name__}.At", *words) == 2
        error = "".join(capsys.readouterr().err.splitlines()[-2:])
        assert all(text in error for text in named)
        assert {path: path.read_bytes() for path in Path("runs/x").rglob("*.[yc]*")} == before
    At.step = -1
    assert go(f"--callbacks+={__name__}.At") == 0


def test_without_a_name_the_newest_run_goes_on(trained, capsys):
    for name in ("a", "b"):
        trained("--epochs=1", "--no_test", name=name)
    main(["--resume", "--epochs=2"])
    assert "continuing runs/b/checkpoints/last.ckpt, trainer.max_epochs 1 -> 2" in (
        capsys.readouterr().out
    )
    before = {path: path.read_bytes() for path in Path("runs/b").rglob("*.*[!k]")}
    main(["--resume", "--name=b", "--no_test"])
    told = "runs/b is finished; its scores are in runs/b/metrics.json; a larger --max_epochs would"
    assert told in capsys.readouterr().out
    assert {path: path.read_bytes() for path in Path("runs/b").rglob("*.*[!k]")} == before
