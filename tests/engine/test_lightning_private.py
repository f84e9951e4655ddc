"""A canary for each private name: it fails when the name stops working, and shows the fallback."""

from types import SimpleNamespace

from lightning.pytorch import LightningDataModule
from lightning.pytorch.core.mixins import hparams_mixin
from torchmetrics import SumMetric

from lit_opt.engine.lightning_private import (
    count_steps_for_loggers,
    object_arguments,
    set_update_count,
    stage_of_test,
)

# ---- the step ----


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


def test_a_trainer_that_can_not_be_told_stays_as_it_is():
    class ReadOnly:
        testing = property(lambda self: False)
        training = property(lambda self: True)

    with stage_of_test(ReadOnly()):
        pass


# ---- the command line ----
