"""What a log file is told while a stage takes long, on a clock that only the batches turn on."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader, IterableDataset

from lit_opt.engine.callbacks import log_progress, progress
from lit_opt.engine.callbacks.log_progress import LogProgress


class Slow(BoringModel):
    """Every batch takes `seconds`."""

    clock, seconds = 0.0, 4.0

    def training_step(self, batch, batch_idx):
        Slow.clock += self.seconds
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        Slow.clock += self.seconds

    test_step = validation_step

    def predict_step(self, batch, batch_idx):
        Slow.clock += self.seconds
        return batch


@pytest.fixture
def told(monkeypatch, quiet_trainer, capsys):
    """The lines of a stage of a model whose batches take `seconds`, without those of epochs."""
    monkeypatch.setattr(Slow, "clock", 0.0)
    for module in (progress, log_progress):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: Slow.clock))

    def lines(stage, seconds=4.0, **options):
        monkeypatch.setattr(Slow, "seconds", seconds)
        data = options.pop("data", None)
        options = {"num_sanity_val_steps": 0, "max_epochs": 1, **options}
        trainer = quiet_trainer(callbacks=[LogProgress()], enable_progress_bar=True, **options)
        if data is None:
            getattr(trainer, stage)(Slow())
        else:
            getattr(trainer, stage)(Slow(), data)
        return [line for line in capsys.readouterr().out.splitlines() if ": batch" in line]

    return lines


@pytest.mark.parametrize(
    ("stage", "what"),
    [("validate", "validating"), ("test", "testing"), ("predict", "predicting")],
)
def test_a_long_stage_tells_how_far_it_is(told, stage, what):
    lines = told(stage, **{f"limit_{what[:3] if stage == 'validate' else stage}_batches": 20})
    # After 12 s, the first end of a batch from 10 s on, then every 30 s.
    assert lines == [
        f"{what}: batch 3 of 20, 1:08 left",
        f"{what}: batch 11 of 20, 0:36 left",
        f"{what}: batch 19 of 20, 0:04 left",
    ]


@pytest.mark.parametrize("stage", ["validate", "test", "predict", "fit"])
def test_a_short_stage_tells_nothing(told, stage):
    assert told(stage, seconds=0.1) == []


def test_a_long_epoch_is_told_every_minute_its_validations_too(told):
    options = {"limit_train_batches": 40, "val_check_interval": 20, "limit_val_batches": 3}
    assert told("fit", **options) == [
        "epoch 1/1: batch 15 of 40, 1:40 left",
        "validating: batch 3 of 3, 0:00 left",
        "epoch 1/1: batch 27 of 40, 0:58 left",
        "validating: batch 3 of 3, 0:00 left",
    ]


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.ones(32)


def test_without_a_known_end_there_is_no_time_left(told):
    data = DataLoader(Endless(), batch_size=2)
    assert told("fit", data=data, max_steps=16, max_epochs=-1, limit_val_batches=0) == [
        "epoch 1/?: batch 15"
    ]


def test_a_command_without_a_terminal_has_such_lines(run):
    done = run("--epochs=1", "--no_test", "--limit_train_batches=1")
    assert any(type(callback) is LogProgress for callback in done.trainer.callbacks)


def test_every_epoch_is_counted_from_its_own_beginning(told):
    """Lightning's count of batches is still that of the epoch before when the next one begins."""
    lines = told("fit", max_epochs=2, limit_train_batches=40, limit_val_batches=0)
    first, second = (
        [line.partition(": ")[2] for line in lines if line.startswith(f"epoch {k}/2")]
        for k in (1, 2)
    )
    assert first == second
    assert first[0] == "batch 15 of 40, 1:40 left"
