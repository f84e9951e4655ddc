"""A canary for each private name: it fails when the name stops working, and shows the fallback."""

from types import SimpleNamespace

from torchmetrics import SumMetric

from lit_opt.engine.lightning_private import set_update_count, stage_of_test

# ---- the step ----


# ---- loading ----


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
