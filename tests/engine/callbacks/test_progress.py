"""What a run prints while it trains."""

import re

import pytest

from lit_opt.engine.callbacks.progress import in_short, score_line


def test_one_line_an_epoch_and_one_a_validation_within_it(run, capsys):
    run("--epochs=2", "--val_check_interval=0.5", "--no_test", "--batch_size=108")
    lines = capsys.readouterr().out.splitlines()
    samples = "Digits, 1,294 training and 144 validation samples"
    assert lines[:2] == ["MLP, 301,066 parameters, on cpu", samples]
    assert lines[6].startswith("best step 24 of 24 by val/loss 0.")
    train, val = (rf"{stage}/loss \d\.\d{{4}} acc \d\d\.\d%" for stage in ("train", "val"))
    wanted = [rf"epoch 1/2  step 6  {val}", rf"epoch 1/2  {train}  {val}  \d+\.\d s"]
    wanted += [rf"epoch 2/2  step 18  {val}", rf"epoch 2/2  {train}  {val}  \d+\.\d s"]
    for line, pattern in zip(lines[2:6], wanted, strict=True):
        assert re.fullmatch(pattern, line)


def test_an_epoch_without_validation_shows_no_scores_of_another(run, capsys):
    run("--epochs=3", "--check_val_every_n_epoch=2", "--no_test")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert ["val/loss" in line for line in lines] == [False, True, False]


@pytest.mark.parametrize("option", ["--enable_progress_bar=false", "--callbacks+=TQDMProgressBar"])
def test_it_can_be_turned_off_and_replaced(run, capsys, option):
    run("--epochs=1", "--no_test", option)
    assert "epoch 1/" not in capsys.readouterr().out


SCORES = {f"{s}/{n}": 0.5 for s in ("train", "val", "test") for n in ("acc", "f1", "loss")}
SCORES |= {"train/loss_step": 1.0, "val/f1/cat": 1.0}
TRAIN, VAL, TEST = (f"{s}/loss 0.5000 acc 50.0% f1 0.5000" for s in ("train", "val", "test"))


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (200, f"epoch 1/2  {TRAIN}  {VAL}  {TEST}  0.1 s"),
        (80, "epoch 1/2  val/loss 0.5000 acc 50.0%  test/loss 0.5000 acc 50.0%  ...  0.1 s"),
        (60, "epoch 1/2  val/loss 0.5000 acc 50.0%  ...  0.1 s"),
        (40, "epoch 1/2  val/loss 0.5000  ...  0.1 s"),
        (20, "epoch 1/2  ..  0.1 s"),
    ],
)
def test_what_does_not_fit_in_the_columns_is_left_out(monkeypatch, columns, line):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert score_line("epoch 1/2", SCORES, ["train", "val", "test"], "  0.1 s") == line


def test_scores_of_one_s_own_names_and_sizes():
    own = {"val_loss": 12345.678, "val_f1": 0.00001234, "valid/acc": 0.5, "other": 1.0}
    line = score_line("epoch 1/2", own, ["val"])
    assert line == "epoch 1/2  val_loss 12346 f1 1.2e-05 valid/acc 50.0%"
    assert [in_short("x", v) for v in (0, -0.5, 10.5, float("nan"))] == [
        "0.0000",
        "-0.5000",
        "10.5",
        "nan",
    ]


ENDS = {
    "--epochs=2": "best epoch 2 of 2 by val/loss ",
    "--max_steps=3": "best step 2 of 3 by val/loss ",
    "--monitor=val/acc --epochs=1": "best epoch 1 of 1 by val/acc ",
    "--val_fraction=0 --epochs=1": "nothing was validated: the last weights are kept ",
    "--epochs=1 --enable_checkpointing=false": None,
}


@pytest.mark.parametrize(("words", "told"), ENDS.items())
def test_the_end_says_which_checkpoint_is_the_best(run, capsys, words, told):
    run(*words.split(), "--no_test", "--limit_train_batches=2")
    lines = [t for t in capsys.readouterr().out.splitlines() if t.startswith(("best", "nothing"))]
    assert bool(lines) == bool(told)
    for line in lines:
        assert line.startswith(told)
        assert line.endswith(".ckpt)")
