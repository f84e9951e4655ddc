"""The line of a run on a terminal, and whether the time left that it tells is the time it takes."""

import re
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from terminal import Terminal
from torch.utils.data import DataLoader, IterableDataset

from lit_opt.engine.callbacks import live_progress, pace
from lit_opt.engine.callbacks.live_progress import LiveProgress
from lit_opt.engine.callbacks.pace import in_thousands, in_time, samples_in


@pytest.fixture
def always(monkeypatch):
    """Draws after every batch but the first."""
    monkeypatch.setattr(live_progress, "EVERY", 0)
    monkeypatch.setattr(live_progress, "SHARE", 0)


def without_times(lines):
    return [re.sub(r"\d+\.\d s|(?<=runs/)\w+", "", line) for line in lines]


@pytest.mark.parametrize("columns", [80, pytest.param(60, marks=pytest.mark.slow)])
def test_a_run_leaves_the_lines_of_one_without_a_terminal(
    run, capsys, monkeypatch, always, columns
):
    words = ["--epochs=2", "--val_check_interval=0.5", "--metrics+=f1", "--name"]
    monkeypatch.setenv("COLUMNS", str(columns))
    run(*words, "plain")
    plain = without_times(capsys.readouterr().out.splitlines())
    terminal = Terminal(monkeypatch, columns)
    run(*words, "shown")
    assert without_times(terminal.screen()) == plain
    epochs = [text for text in terminal.drawn if "samples/s" in text or columns == 60]
    assert len(epochs) == 2 * (21 - 1)
    assert max(map(len, [*terminal.drawn, *terminal.screen()])) <= columns
    if columns == 80:  # "so far" is the epoch's own score at its last batch
        done = [text for text in epochs if "100%" in text]
        ends = [text for text in terminal.screen() if " train/" in text]
        for last, end in zip(done, ends, strict=True):
            assert (
                re.search(r"  loss (\S+)  acc", last)[1] == re.search(r"train/loss (\S+)", end)[1]
            )


# ---- the time left, on a clock of which a training batch takes 3 s and one of validation 5 s


class Timed(BoringModel):
    clock = 0.0

    def training_step(self, batch, batch_idx):
        Timed.clock += 3
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        Timed.clock += 5


class TwoOptimizers(Timed):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(2)]

    def training_step(self, batch, batch_idx):
        Timed.clock += 3
        for optimizer in self.optimizers():
            optimizer.step()


class Stream(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.ones(32)


class Endless(Timed):
    def train_dataloader(self):
        return DataLoader(Stream(), batch_size=4)


SITUATIONS = [
    (Timed, {"max_epochs": 4}),
    (Timed, {"max_epochs": 3, "val_check_interval": 5}),
    (Timed, {"max_epochs": 6, "check_val_every_n_epoch": 2}),
    (Timed, {"max_epochs": 3, "limit_val_batches": 0, "accumulate_grad_batches": 3}),
    (Timed, {"max_steps": 40, "max_epochs": -1}),
    (TwoOptimizers, {"max_steps": 80, "max_epochs": -1, "limit_val_batches": 0}),
    (Endless, {"max_steps": 40, "limit_val_batches": 0}),
]


@pytest.mark.parametrize(("model", "options"), SITUATIONS, ids=str)
def test_the_time_left_is_what_it_takes(monkeypatch, always, quiet_trainer, model, options):
    monkeypatch.setattr(Timed, "clock", 0.0)
    clock = SimpleNamespace(monotonic=lambda: Timed.clock)
    for module in (live_progress, pace):
        monkeypatch.setattr(module, "time", clock)
    predicted = []
    monkeypatch.setattr(live_progress, "draw", lambda text: predicted.append((Timed.clock, text)))
    limits = {"limit_train_batches": 10, "limit_val_batches": 2} if model is not Endless else {}
    live = LiveProgress()
    trainer = quiet_trainer(
        **{**limits, "num_sanity_val_steps": 0, **options},
        callbacks=[live],
        enable_progress_bar=True,
    )
    Terminal(monkeypatch)
    trainer.fit(model())
    sure = [(now, text) for now, text in predicted if "fit" in text and "fit >" not in text]
    assert len(sure) >= len(predicted) / 3 or model is Endless
    for now, text in sure:
        minutes, seconds = re.search(r"fit (\d+):(\d\d)", text).groups()
        # Where only some epochs validate, half a validation is within what is told.
        off = 5 if "check_val_every_n_epoch" in options else 0
        told = 60 * int(minutes) + int(seconds)
        assert told == pytest.approx(Timed.clock - now, abs=off + 1), text


# ---- what modules and batches of any kind give


class Gives(BoringModel):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def training_step(self, batch, batch_idx):
        self.log("train/own", 0.25, prog_bar=True)
        loss = super().training_step(batch, batch_idx)["loss"] * 0 + 8
        return {"loss": loss, "dict": {"loss": loss, "more": 1}, "None": None}[self.output]


@pytest.mark.filterwarnings("ignore:.*returned `None`")
@pytest.mark.parametrize("output", ["loss", "dict", "None"])
def test_the_scores_of_any_module(monkeypatch, always, quiet_trainer, output):
    terminal = Terminal(monkeypatch)
    options = {"accumulate_grad_batches": 2, "enable_progress_bar": True}
    quiet_trainer(**options, limit_train_batches=8, callbacks=[LiveProgress()]).fit(Gives(output))
    line = next(text for text in terminal.drawn if "88%" in text)
    assert ("loss 8.0000" in line) == (output != "None")
    assert "own 0.2500" in line


def test_samples_of_a_batch_and_numbers_in_short():
    x = torch.zeros(6, 2)
    batches = [x, (x, x), {"x": x}, [{"id": 1, "x": x}], ["a"] * 6]
    assert [samples_in(batch) for batch in batches] == [6] * 5
    assert samples_in(torch.zeros(())) == 1
    assert samples_in(None) == 0
    assert [in_thousands(n) for n in (0.25, 9876, 12345, 1234567)] == [
        "0.25",
        "9,876",
        "12.3k",
        "1.23M",
    ]
    assert [in_time(s) for s in (0.4, 290, 3890, 3e5)] == ["0:00", "4:50", "1:04:50", "3 days"]


def test_every_stage_shows_itself_by_a_name(run, monkeypatch):
    shown = []

    @contextmanager
    def long_step(what):
        text = what() if callable(what) else what
        shown.append(re.sub(r"batch \d+ of \d+", "batch N of N", text))
        yield

    rooms = ["callbacks.live_progress", "callbacks.test_every_epoch"]
    for room in [*rooms, "loading.source_reader", "loading.data_facts"]:
        monkeypatch.setattr(f"lit_opt.engine.{room}.long_step", long_step)
    Terminal(monkeypatch)
    done = run("--epochs=1", "--limit_train_batches=2", "--callbacks+=TestEveryEpoch")
    run("predict", f"--ckpt_path={done.folder}/checkpoints/best.ckpt")
    stages = ["reading Digits 'train'", "mean and standard deviation of the training samples"]
    stages += [
        "checking the validation",
        "epoch 1/1  first step",
        "epoch 1/1  validating, batch N of N,",
    ]
    stages += [
        "testing",
        "validating, batch N of N,",
        "testing, batch N of N,",
        "predicting, batch N of N,",
    ]
    assert [stage for stage in stages if stage not in shown] == [], shown
