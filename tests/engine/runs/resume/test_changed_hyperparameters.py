"""A continued fit ends as the uninterrupted one with the hyperparameters of today."""

from typing import Any

import lightning.pytorch as pl
import pytest
from memory import Memory, images

from lit_opt.datamodule import ImageData
from lit_opt.engine.runs.resume.changed_hyperparameters import ChangedHyperparameters
from lit_opt.models import MLP
from lit_opt.module import LitModule

LAST = "--ckpt_path=runs/a/checkpoints/last.ckpt"
FEW = ["--limit_train_batches=5", "--net.hidden=[8]"]
SGD = {"optimizer": {"name": "SGD", "momentum": 0.9}}
HORIZONS = ["OneCycleLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR"]
SCHEDULES: list[dict[str, Any]] = [{"scheduler": name} for name in [*HORIZONS, "LinearLR"]]
SCHEDULES += [{"scheduler": "CosineAnnealingLR", "warmup": 0.2}, {"warmup": 0.5}]
SCHEDULES += [{"scheduler": "PolynomialLR", "warmup": 0.1}]
SCHEDULES += [{"scheduler": {"name": "StepLR", "step_size": 1}}]
SCHEDULES += [{"scheduler": {"name": "ExponentialLR", "gamma": 0.5}, "warmup": 0.1}]
CHANGED: list[dict[str, Any]] = [{"scheduler": "CosineAnnealingLR"}, {"scheduler": None}]
CHANGED += [{"scheduler": {"name": "OneCycleLR", "pct_start": 0.6}}, {"lr": 0.05}]
CHANGED += [{"scheduler": None, "warmup": 0.5}]


class Rates(pl.Callback):
    """The lr and the momentum of every step from the eleventh on."""

    def on_train_start(self, trainer, pl_module):
        self.seen = []

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step >= 10:
            group = trainer.optimizers[0].param_groups[0]
            self.seen.append((group["lr"], group["momentum"]))


@pytest.fixture
def rates(quiet_trainer):
    """What `Rates` sees in a fit of five steps an epoch, which leaves its checkpoint."""

    def rates(epochs, hparams, ckpt_path=None):
        seen = Rates()
        options = {"max_epochs": epochs, "callbacks": [seen, ChangedHyperparameters()]}
        trainer = quiet_trainer(**options, limit_val_batches=0)
        model = LitModule(MLP((2, 4, 5), 3, hidden=(8,)), **SGD | hparams)
        data = ImageData(Memory(train=images(25)), batch_size=5, val_fraction=0)
        trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
        trainer.save_checkpoint("a.ckpt")
        return seen.seen

    return rates


def group(cli):
    return cli.trainer.optimizers[0].param_groups[0]


def same_weights(a, b):
    return all(p.equal(q) for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True))


def test_nothing_changed_nothing_said_and_the_result_is_the_uninterrupted_one(run, capsys):
    run("fit", "--epochs=2", "--name=a", *FEW)
    capsys.readouterr()
    continued = run("fit", LAST, "--epochs=4", *FEW)
    assert " -> " not in capsys.readouterr().out
    assert same_weights(continued, run("fit", "--epochs=4", *FEW))


@pytest.mark.parametrize(
    ("before", "after"),
    [*zip(SCHEDULES, SCHEDULES, strict=True), *(({"scheduler": "OneCycleLR"}, c) for c in CHANGED)],
)
def test_a_schedule_that_is_longer_or_another_counts_as_if_it_had_from_the_start(
    rates, capsys, before, after
):
    rates(2, before)
    continued = rates(4, before | after, "a.ckpt")
    said = capsys.readouterr().out
    assert [key for key in after if f" {key} " in said] == ([] if after == before else [*after])
    whole = rates(4, before | after)
    assert len(whole) == 10
    for found, expected in zip(zip(*continued, strict=True), zip(*whole, strict=True), strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_another_optimizer_starts_afresh_another_spelling_does_not(run):
    run("fit", "--epochs=1", "--name=a", "--optimizer=Adam", *FEW)
    words = ["--optimizer=SGD", "--optimizer.momentum=0.9", "--scheduler=OneCycleLR", *FEW]
    cli = run("fit", LAST, "--epochs=2", *words)
    assert type(cli.trainer.optimizers[0]).__name__ == "SGD"
    assert cli.trainer.global_step == 10
    assert group(cli)["lr"] < 1e-6  # at the end of a schedule that has begun with the first step
    same = run("fit", LAST, "--epochs=2", "--optimizer=torch.optim.adam.Adam", *FEW)
    assert same_weights(same, run("fit", "--epochs=2", "--optimizer=Adam", *FEW))


def test_an_argument_that_is_new_or_gone_counts(run, capsys):
    run("fit", "--epochs=1", "--name=a", *FEW)
    new = run("fit", LAST, "--epochs=2", "--optimizer.weight_decay=0.5", "--name=b", *FEW)
    assert group(new)["weight_decay"] == 0.5
    assert "weight_decay 0.01 -> 0.5" in capsys.readouterr().out
    gone = run("fit", LAST.replace("/a/", "/b/"), "--epochs=3", "--optimizer=AdamW", *FEW)
    assert group(gone)["weight_decay"] == 0.01


def test_groups_may_be_made_in_a_run_that_had_none(run, capsys):
    run("fit", "--epochs=1", "--name=a", *FEW)
    words = ["--lr_factors={net.layers.1: 0.5}", "--optimizer.no_decay=true", "--epochs=2"]
    groups = run("fit", LAST, *words, *FEW).trainer.optimizers[0].param_groups
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [
        (0.001, 0.01), (0.001, 0.0), (0.0005, 0.01), (0.0005, 0.0)
    ]  # fmt: skip
    assert "lr_factors None -> {'net.layers.1': 0.5}" in capsys.readouterr().out


def test_the_learning_rate_finder_is_obeyed_once(run):
    finder = ["--callbacks+=LearningRateFinder", "--callbacks.num_training_steps=40"]
    cli = run("fit", "--epochs=2", *finder, "--net.hidden=[8]")
    found = next(c for c in cli.trainer.callbacks if hasattr(c, "optimal_lr"))
    assert group(cli)["lr"] == pytest.approx(found.optimal_lr.suggestion())
