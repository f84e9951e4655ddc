"""What a run prints while it trains."""

import re

import pytest


def test_one_line_an_epoch_and_one_a_validation_within_it(run, capsys):
    run("--epochs=2", "--val_check_interval=0.5", "--no_test", "--batch_size=108")
    first, *lines, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("MLP, 301,066 parameters; Digits, 1,294 training and 144 validation")
    train, val = (rf"{stage}/loss \d\.\d{{4}}  {stage}/acc \d\d\.\d%" for stage in ("train", "val"))
    wanted = [rf"epoch 1/2  step 6  {val}", rf"epoch 1/2  {train}  {val}  \d+\.\d s"]
    wanted += [rf"epoch 2/2  step 18  {val}", rf"epoch 2/2  {train}  {val}  \d+\.\d s"]
    for line, pattern in zip(lines, wanted, strict=True):
        assert re.fullmatch(pattern, line)


def test_an_epoch_without_validation_shows_no_scores_of_another(run, capsys):
    run("--epochs=3", "--check_val_every_n_epoch=2", "--no_test")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert ["val/acc" in line for line in lines] == [False, True, False]


@pytest.mark.parametrize("option", ["--enable_progress_bar=false", "--callbacks+=TQDMProgressBar"])
def test_it_can_be_turned_off_and_replaced(run, capsys, option):
    run("--epochs=1", "--no_test", option)
    assert "epoch" not in capsys.readouterr().out


def test_a_terminal_has_a_bar_that_leaves_nothing(run, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    drawn = []
    monkeypatch.setattr(
        "rich.progress.Progress.update", lambda *_, completed: drawn.append(completed)
    )
    run("--epochs=2", "--no_test")
    assert drawn == [*range(1, 22)] * 2
