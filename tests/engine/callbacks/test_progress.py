import torch

from lit_opt.engine.callbacks.progress import describe


def test_accuracies_are_in_percent_and_the_loss_comes_first():
    metrics = {"val/acc": torch.tensor(0.9712), "val/loss": torch.tensor(0.10424), "train/acc": 1}
    assert describe(metrics, "val") == "val/loss 0.1042  val/acc 97.1%"


def test_one_line_an_epoch_and_one_a_validation_within_it(run, capsys):
    run("--epochs=2", "--val_check_interval=0.5", "--no_test", "--batch_size=108")
    lines = capsys.readouterr().out.splitlines()
    starts = [" ".join(line.split()[:4]) for line in lines[1:-1]]
    assert starts[0] == "epoch 1/2 step 6"
    assert starts[1].startswith("epoch 1/2 train/loss")
    assert starts[2] == "epoch 2/2 step 18"
    assert starts[3].startswith("epoch 2/2 train/loss")
    assert len(starts) == 4
    assert lines[0].startswith("MLP, 301,066 parameters; Digits, 1,294 training and 144 validation")


def test_an_epoch_without_validation_shows_no_scores_of_another(run, capsys):
    run("--epochs=3", "--check_val_every_n_epoch=2", "--no_test")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert ["val/acc" in line for line in lines] == [False, True, False]


def test_it_can_be_turned_off_and_replaced(run, capsys):
    run("--epochs=1", "--no_test", "--enable_progress_bar=false")
    assert "epoch" not in capsys.readouterr().out
    run("--epochs=1", "--no_test", "--callbacks+=TQDMProgressBar")
    assert "train/loss" not in capsys.readouterr().out
