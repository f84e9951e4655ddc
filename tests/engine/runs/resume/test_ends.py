"""What ended a run is said, and finders leave nothing but what they found."""

from pathlib import Path

import pytest
import torch
from conftest import main

from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import plan_of
from lit_opt.engine.optim.schedulers import build_schedulers
from lit_opt.module import LitModule

FEW = ["--epochs=3", "--limit_train_batches=4", "--net.hidden=[8]", "--no_test"]
FINDER = ["--callbacks+=LearningRateFinder", "--callbacks.num_training_steps=20"]
FINDER += ["--callbacks.early_stop_threshold=null"]
STOP = ["--callbacks+=EarlyStopping", "--callbacks.monitor=val/loss"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([*STOP, "--callbacks.patience=2", "--lr=0"], "3: val/loss did not improve in 2 "),
        ([*STOP, "--callbacks.stopping_threshold=9"], "1: Stopping threshold reached: val/loss"),
        (["--max_time=00:00:00:00"], "its time is over"),
        ([*STOP], None),
        ([], None),
    ],
)  # fmt: skip
def test_what_ended_a_run_early_is_said_at_its_end(run, capsys, words, why):
    run(*FEW, *words, "--epochs=5" if why else "--epochs=2")
    told = [t for t in capsys.readouterr().out.splitlines() if t.startswith("stopped early")]
    assert len(told) == bool(why)
    assert not why or why in told[0]


@pytest.mark.parametrize("words", [["--scheduler=OneCycleLR"], ["--lr_factors={net: 0.5}"]])
def test_a_run_with_a_finder_is_one_with_what_it_found(run, words):
    """Rows of metrics.csv and weights, bit for bit."""
    words = [*FEW, "--epochs=6", *words]
    found = run(*words, *FINDER, "--name=a")
    lr = found.model.lr
    assert lr != 0.001
    told = run(*words, f"--lr={lr}", "--name=b")
    files = [Path(f"runs/{name}/metrics.csv").read_text() for name in "ab"]
    assert files[0] == files[1]
    for name, weight in told.model.state_dict().items():
        assert weight.equal(found.model.state_dict()[name])


@pytest.mark.slow
def test_a_resumed_run_finds_nothing_again(run):
    finders = [*FINDER, "--callbacks+=BatchSizeFinder"]
    finders += ["--callbacks.max_trials=3", "--callbacks.steps_per_trial=1"]
    words = [*FEW[2:], "--name=a", "--resume", "--scheduler=StepLR", "--scheduler.step_size=9"]
    words.append("--limit_train_batches=20")
    first = run(*words, *finders, "--epochs=1")
    before = Path("runs/a/metrics.csv").read_text().splitlines()[1]
    again = run(*words, *finders, "--epochs=2")
    assert again.model.lr == first.model.lr != 0.001
    assert again.datamodule.batch_size == first.datamodule.batch_size == 8
    assert again.trainer.optimizers[0].param_groups[0]["lr"] == first.model.lr
    assert Path("runs/a/metrics.csv").read_text().splitlines()[1] == before
    assert run(*words, "--epochs=3", "--lr=0.25").model.lr == 0.25


@pytest.mark.slow
def test_the_scores_of_a_run_with_a_batch_size_finder_are_those_of_its_best(run):
    words = [word for word in FEW if word != "--no_test"]
    finder = ["--callbacks+=BatchSizeFinder", "--callbacks.max_trials=2"]
    scores = run(*words, *finder, "--name=a").scores
    again = run("test", "--ckpt_path=runs/a/checkpoints/best.ckpt").scores
    assert scores["test/loss"] == pytest.approx(again["test/loss"])
    assert torch.load("runs/a/checkpoints/best.ckpt")["datamodule_hyper_parameters"]


def test_a_callback_s_argument_is_given_anew_by_its_flag(run, capsys):
    words = [*FEW, *STOP, "--callbacks.patience=2", "--lr=0", "--name=a"]
    assert run(*words).trainer.current_epoch == 3
    capsys.readouterr()
    again = run(*FEW, "--name=a", "--resume", "--callbacks.patience=4", "--epochs=9")
    assert again.trainer.current_epoch == 5
    told = capsys.readouterr().out
    assert "EarlyStopping.patience 2 -> 4" in told
    assert "stopped early at epoch 5: val/loss did not improve in 4 validations" in told


def test_groups_of_a_subclass_s_own_optimizer_are_kept_when_its_run_becomes_longer(tmp_path):
    """The three lines of the room's docstring, in a subclass of LitModule."""
    main([*FEW, "--name=a", "--epochs=1"], model=OwnGroups)
    more = main([*FEW, "--name=a", "--resume", "--epochs=2"], model=OwnGroups)
    whole = main([*FEW, "--name=b", "--epochs=2"], model=OwnGroups)
    rates = [[g["lr"] for g in c.trainer.optimizers[0].param_groups] for c in (more, whole)]
    assert rates[0] == pytest.approx(rates[1])
    assert rates[0][0] == pytest.approx(rates[0][1] / 10)


class OwnGroups(LitModule):
    def configure_optimizers(self):
        first, last = self.net.layers[1].parameters(), self.net.layers[3:].parameters()
        groups = [{"params": first, "lr": 1e-4}, {"params": last}]
        optimizer = build_optimizer({"name": "AdamW", "weight_decay": 0.1}, groups, lr=1e-3)
        return [optimizer], build_schedulers("OneCycleLR", optimizer, plan_of(self.trainer))
