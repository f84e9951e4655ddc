"""A canary for each private name: it fails when the name stops working, and shows the fallback."""

from copy import deepcopy
from types import SimpleNamespace

import lightning
import lightning.pytorch as pl
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule
from lightning.pytorch.core.mixins import hparams_mixin
from lightning.pytorch.utilities import exceptions
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ConstantLR, LinearLR, SequentialLR
from torchmetrics import SumMetric

from lit_opt.datamodule import ImageData
from lit_opt.engine.lightning_private import (
    STEP_HOOKS,
    QuickHookName,
    count_steps_for_loggers,
    help_with_short_names,
    hide_idle_hooks,
    is_of_sigterm,
    move_logged_values_once,
    object_arguments,
    reopen_epoch,
    resume_steps_like_epochs,
    schedulers_within,
    set_update_count,
    stage_of_test,
    step_alone,
)
from lit_opt.models import MLP
from lit_opt.module import LitModule
from lit_opt.sources import Digits

# ---- the step ----


class Counts(pl.Callback):
    seen = 0

    def on_after_backward(self, trainer, pl_module):
        self.seen += 1


class CountsToo(LitModule):
    def on_before_zero_grad(self, optimizer):
        self.__dict__["seen"] = self.__dict__.get("seen", 0) + 1


@pytest.mark.parametrize("version", ["2.6.6", "3.0.0"])
def test_lightning_skips_a_hook_that_is_none(quiet_trainer, monkeypatch, version):
    called = set()
    for name in STEP_HOOKS:
        monkeypatch.setattr(pl.Callback, name, lambda *_, name=name: called.add(name))
    monkeypatch.setattr(lightning, "__version__", version)
    callback, model = Counts(), CountsToo(MLP((1, 8, 8), hidden=(8,)))
    trainer = quiet_trainer(callbacks=[pl.Callback(), callback])
    hide_idle_hooks(trainer, model)
    trainer.fit(model, ImageData(Digits()))
    assert callback.seen == model.seen == 21
    assert called == (set() if version == "2.6.6" else set(STEP_HOOKS))


def test_a_logged_value_is_moved_where_it_is_not_there_yet(monkeypatch):
    from lightning.pytorch.trainer.connectors.logger_connector import result

    monkeypatch.setattr(result._ResultMetric, "to", result._ResultMetric.to)
    move_logged_values_once()
    walked = []
    walk = result.apply_to_collection
    monkeypatch.setattr(
        result, "apply_to_collection", lambda *a, **k: (walked.append(1), walk(*a, **k))[1]
    )
    logged = result._ResultCollection(training=True)
    for value in (1.0, 3.0):
        logged.log("training_step", "loss", torch.tensor(value), batch_size=1)
    assert logged["training_step.loss"].compute() == 2
    moves = len(walked)
    assert logged["training_step.loss"].to(torch.device("meta")).value.is_meta
    assert (moves, len(walked)) == (0, 1)


def test_lightning_sets_the_name_that_has_a_short_cut(quiet_trainer, monkeypatch):
    names = []
    ordinary = QuickHookName.__setattr__

    def spy(self, name, value):
        names.append(name)
        ordinary(self, name, value)

    monkeypatch.setattr(QuickHookName, "__setattr__", spy)
    quiet_trainer().fit(LitModule(MLP((1, 8, 8), hidden=(8,))), ImageData(Digits()))
    assert names.count("_current_fx_name") > 21 * 10


@pytest.mark.parametrize("missing", [False, True])
def test_an_optimizer_without_hooks_steps_without_torchs_record(monkeypatch, missing):
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.5)
    LinearLR(optimizer, 1.0)  # lays a step around it
    if missing:
        monkeypatch.delattr(SGD.step, "hooked")
    step = step_alone(optimizer)
    assert (step == optimizer.step) == missing
    [weight] = optimizer.param_groups[0]["params"]
    weight.grad = torch.ones(1)
    step()
    assert weight.item() == 0.5


@pytest.mark.parametrize("register", ["register_step_pre_hook", "register_step_post_hook"])
def test_an_optimizer_with_a_hook_steps_as_a_whole(register):
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.5)
    getattr(optimizer, register)(lambda *_: None)
    assert step_alone(optimizer) == optimizer.step


def test_a_sequence_of_schedulers_tells_its_parts():
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    parts = [LinearLR(optimizer), ConstantLR(optimizer)]
    sequence = SequentialLR(optimizer, parts, milestones=[3])
    assert schedulers_within(sequence) == parts
    del sequence._schedulers
    assert schedulers_within(sequence) == schedulers_within(parts[0]) == []


# ---- loading ----


class Given(LightningDataModule):
    def __init__(self, thing: dict[str, int] | None = None) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=object_arguments("thing"))


def test_objects_are_left_out_of_the_hyperparameters_unless_they_are_given_as_values(monkeypatch):
    assert "thing" not in Given({"a": 1}).hparams
    with hparams_mixin._given_hyperparameters_context({"thing": {"a": 1}}, "the command line's"):
        assert Given().hparams["thing"] == {"a": 1}
    monkeypatch.delattr(hparams_mixin, "_given_hyperparameters")
    assert object_arguments("thing") == ["thing"]


def test_the_loggers_count_can_be_raised(quiet_trainer):
    trainer = quiet_trainer()
    before = trainer.fit_loop.epoch_loop._batches_that_stepped
    count_steps_for_loggers(trainer, 3)
    assert trainer.fit_loop.epoch_loop._batches_that_stepped == before + 3
    other = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace()))
    count_steps_for_loggers(other, 3)
    assert not vars(other.fit_loop.epoch_loop)


# ---- resuming ----


def test_the_update_count_of_a_metric_can_be_restored():
    metric = SumMetric()
    set_update_count(metric, 3)
    assert metric.update_count == 3
    set_update_count(SimpleNamespace(), 3)  # a metric without the name is left alone


def test_a_trainer_can_be_told_to_be_testing(quiet_trainer):
    trainer = quiet_trainer()
    trainer.training = True
    with stage_of_test(trainer):
        assert trainer.testing
        assert not trainer.training
    assert trainer.training

    class ReadOnly:
        testing = property(lambda self: False)
        training = property(lambda self: True)

    with stage_of_test(ReadOnly()):  # it can't be told, and stays as it is
        pass


# ---- the command line ----


def test_an_exit_by_lightnings_answer_to_sigterm_is_told_from_others(monkeypatch):
    assert is_of_sigterm(exceptions.SIGTERMException())
    assert not is_of_sigterm(SystemExit(0))
    monkeypatch.delattr(exceptions, "SIGTERMException")
    assert not is_of_sigterm(SystemExit(0))


def test_help_shows_short_names():
    parser = ArgumentParser(formatter_class=help_with_short_names())
    parser.add_argument("--model.lr", type=float)
    assert "--lr, --model.lr" in parser.format_help()


@pytest.mark.parametrize("there", [True, False])
def test_a_fit_loop_is_told_that_its_epochs_end(quiet_trainer, monkeypatch, there):
    """A loop whose last epoch is over is not inside one, whatever ends the training."""
    trainer = quiet_trainer(max_steps=30, max_epochs=None)
    if not there:
        monkeypatch.delattr(type(trainer.fit_loop), "_iteration_based_training")
        resume_steps_like_epochs(trainer)
        assert "_iteration_based_training" not in vars(trainer.fit_loop)
        return
    trainer.fit_loop.restarting = True
    assert trainer.fit_loop.restarting
    resume_steps_like_epochs(trainer)
    trainer.fit_loop.restarting = True
    assert not trainer.fit_loop.restarting


def test_a_cut_epoch_is_opened_again(quiet_trainer):
    """The canary of `reopen_epoch`: the state of a fit loop has the form that it expects."""
    loop = quiet_trainer(max_steps=3).fit_loop.state_dict()
    before = deepcopy(loop)
    assert reopen_epoch(loop)
    assert loop != before
    assert not reopen_epoch({"epoch_progress": {}})
