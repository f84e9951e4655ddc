"""Of a continued fit nothing changes but what is given anew, for any module and any groups."""

from copy import deepcopy

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, EarlyStopping
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import plan_of
from lit_opt.engine.optim.schedulers import build_schedulers, scale_lr
from lit_opt.engine.runs.resume.changed_hyperparameters import ChangedHyperparameters
from lit_opt.engine.runs.resume.training_state import PlateauBeforeCheckpoint, RunningScores

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec", "ignore:.*parameter.* frozen already")


class Net(pl.LightningModule):
    """What it is built with is all that its `configure_optimizers` knows: no `optimizers_for`."""

    def __init__(self, configure) -> None:
        super().__init__()
        self.configure = configure
        torch.manual_seed(0)
        self.backbone, self.head = nn.Linear(3, 4), nn.Linear(4, 1)

    def training_step(self, batch):
        return nn.functional.mse_loss(self.head(self.backbone(batch[0])), batch[1])

    def validation_step(self, batch):
        self.log("val_loss", self.training_step(batch))
        self.log("constant", 1.0)

    def configure_optimizers(self):
        return self.configure(self)


def sgd(schedule=None, lr=0.1, factor=1.0, **arguments):
    """A `configure_optimizers` with two groups, the second with `factor` of `lr`."""

    def configure(module):
        parts = [p for p in module.parameters() if p.requires_grad]
        groups = [{"params": parts[2:], "lr": lr * factor}] if parts[2:] else []
        groups.insert(0, {"params": parts[:2]})
        optimizer = torch.optim.SGD(groups, lr, momentum=0.9, **arguments)
        return [optimizer], schedule(module, optimizer) if schedule else []

    return configure


def plateau(**arguments):
    def schedule(module, optimizer):
        one = lr_scheduler.ReduceLROnPlateau(
            optimizer, **{"patience": 0, "factor": 0.5} | arguments
        )
        return [{"scheduler": one, "monitor": "constant", "interval": "epoch"}]

    return schedule


def by_name(spec, warmup=0.0, monitor="constant"):
    def schedule(module, optimizer):
        return build_schedulers(spec, optimizer, plan_of(module.trainer), warmup, monitor=monitor)

    return schedule


def plain(make):
    return lambda module, optimizer: [{"scheduler": make(optimizer), "interval": "epoch"}]


@pytest.fixture
def fit(quiet_trainer):
    """`fit(configure, epochs, "a.ckpt", *callbacks)`: trains; goes on from the file, if given."""

    def fit(configure, epochs, path=None, *callbacks, save=None):
        own = [RunningScores(), PlateauBeforeCheckpoint()]
        callbacks = [ChangedHyperparameters(), *deepcopy(callbacks), *own]
        trainer = quiet_trainer(max_epochs=epochs, callbacks=callbacks)
        torch.manual_seed(0)
        data = DataLoader(TensorDataset(torch.randn(8, 3), torch.randn(8, 1)), batch_size=2)
        trainer.fit(Net(configure), data, data, ckpt_path=path, weights_only=True)
        if save:
            trainer.save_checkpoint(save)
        return trainer

    return fit


def rates(trainer) -> list[float]:
    return [group["lr"] for group in trainer.optimizers[0].param_groups]


def weights(trainer) -> str:
    return str(trainer.model.state_dict())


SCHEDULES = {
    "plateau": plateau(),
    "plateau with warm-up": by_name({"name": "ReduceLROnPlateau", "patience": 0}, 0.25),
    "step with warm-up": by_name({"name": "StepLR", "step_size": 1}, 0.25),
    "one cycle": by_name("OneCycleLR"),
    "cyclic": by_name("CyclicLR"),
    "cosine with warm-up": by_name("CosineAnnealingLR", 0.25),
    "cosine, given": by_name({"name": "CosineAnnealingLR", "T_max": 7}),
    "lambda": plain(lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch)),
    "sequential": plain(
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o, 0.5, 1), lr_scheduler.ExponentialLR(o, 0.5)], [1]
        )
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_longer_run_has_the_rates_of_one_that_was_never_shorter(fit, name):
    configure = sgd(SCHEDULES[name], factor=0.1)
    fit(configure, 2, save="a.ckpt")
    continued, whole = fit(configure, 4, "a.ckpt"), fit(configure, 4)
    assert rates(continued) == pytest.approx(rates(whole), rel=1e-6, abs=1e-12)
    if name in ("plateau", "cosine, given", "lambda", "sequential"):  # not of the run's length
        assert weights(continued) == weights(whole)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_new_lr_counts_as_if_from_the_start_and_the_groups_keep_their_ratio(fit, name):
    fit(sgd(SCHEDULES[name], factor=0.1), 2, save="a.ckpt")
    new = sgd(SCHEDULES[name], lr=0.04, factor=0.1)
    continued, whole = fit(new, 4, "a.ckpt"), fit(new, 4)
    if "plateau" in name:  # the lr given anew is the one of now; what it has seen is kept
        last = continued.lr_scheduler_configs[-1].scheduler
        assert last.best == 1.0
        assert rates(continued) == pytest.approx([0.04 * last.factor**2, 0.004 * last.factor**2])
    else:
        assert rates(continued) == pytest.approx(rates(whole), rel=1e-6, abs=1e-12)


def test_a_plateau_s_new_patience_wins_and_what_it_has_seen_is_kept(fit):
    fit(sgd(plateau()), 2, save="a.ckpt")
    trainer = fit(sgd(plateau(patience=5)), 4, "a.ckpt")
    [scheduler] = [config.scheduler for config in trainer.lr_scheduler_configs]
    assert (scheduler.patience, scheduler.best, scheduler.num_bad_epochs) == (5, 1.0, 2)
    assert rates(trainer) == [0.05, 0.05]


@pytest.mark.parametrize("patience", [1, 20])
def test_a_callback_s_argument_given_anew_wins_over_its_state(fit, capsys, patience):
    fit(sgd(), 3, None, EarlyStopping("constant", patience=4), save="a.ckpt")
    trainer = fit(sgd(), 6, "a.ckpt", EarlyStopping("constant", patience=patience))
    assert trainer.early_stopping_callback.patience == patience
    assert trainer.early_stopping_callback.wait_count == (3 if patience == 1 else 5)
    assert f"EarlyStopping.patience 4 -> {patience}" in capsys.readouterr().out


class Halve(pl.Callback):
    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking and trainer.current_epoch == 0:
            schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
            scale_lr(trainer.optimizers[0], schedulers, 0.5)


def test_a_halved_lr_outlives_a_longer_schedule_but_no_new_lr(fit):
    configure = sgd(by_name("CosineAnnealingLR"), factor=0.1)
    fit(configure, 2, None, Halve(), save="a.ckpt")
    continued, whole = fit(configure, 5, "a.ckpt"), fit(configure, 5)
    middle = [fit(c, 4, p) for c, p in ((configure, "a.ckpt"), (configure, None))]
    assert continued.optimizers[0].param_groups[0]["initial_lr"] == 0.05
    assert whole.optimizers[0].param_groups[0]["initial_lr"] == 0.1
    assert rates(middle[0]) == pytest.approx([lr / 2 for lr in rates(middle[1])], abs=1e-12)


class Thaw(BackboneFinetuning):
    def __init__(self) -> None:
        super().__init__(unfreeze_backbone_at_epoch=1, lambda_func=lambda epoch: 1.5)


@pytest.mark.parametrize("schedule", [None, "plateau", "step with warm-up"])
def test_a_run_that_adds_groups_goes_on(fit, schedule):
    configure = sgd(SCHEDULES.get(schedule))
    fit(configure, 2, None, Thaw(), save="a.ckpt")
    continued, whole = fit(configure, 4, "a.ckpt", Thaw()), fit(configure, 4, None, Thaw())
    assert len(rates(continued)) == 2
    assert rates(continued)[0] == pytest.approx(rates(whole)[0])
    if schedule != "step with warm-up":
        assert weights(continued) == weights(whole)
        faster = fit(sgd(SCHEDULES.get(schedule), lr=0.2), 3, "a.ckpt", Thaw())
        assert rates(faster)[0] == (0.1 if schedule else 0.2)


def test_other_groups_than_before_take_every_parameter_s_own_state(fit):
    def grouped(**arguments):
        return lambda module: build_optimizer({"name": "AdamW", **arguments}, module, 0.1)

    first = fit(grouped(), 2, save="a.ckpt")
    trainer = fit(grouped(no_decay=True, weight_decay=0.2), 2, "a.ckpt")
    assert [group["weight_decay"] for group in trainer.optimizers[0].param_groups] == [0.2, 0.0]
    states = [
        {name: str(t.optimizers[0].state[p]) for name, p in t.model.named_parameters()}
        for t in (first, trainer)
    ]
    assert states[0] == states[1]


class TwoOptimizers(Net):
    """By hand; one schedule depends on the length of the run, the other does not."""

    automatic_optimization = False

    def __init__(self, lr: float) -> None:
        super().__init__(None)
        self.automatic_optimization, self.lr = False, lr

    def training_step(self, batch):
        loss = super().training_step(batch)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for part in (*self.optimizers(), *self.lr_schedulers()):
            part.step()

    def validation_step(self, batch):
        """Nothing is validated."""

    def configure_optimizers(self):
        optimizers = [torch.optim.SGD(p.parameters(), self.lr) for p in (self.head, self.backbone)]
        steps = self.trainer.max_epochs * 4
        schedules = [
            lr_scheduler.CosineAnnealingLR(optimizers[0], steps),
            lr_scheduler.ExponentialLR(optimizers[1], 0.9),
        ]
        return optimizers, schedules


def test_of_two_optimizers_only_the_schedule_of_the_run_s_length_is_another(fit, monkeypatch):
    monkeypatch.setattr(f"{__name__}.Net", lambda lr: TwoOptimizers(lr))
    fit(0.1, 2, save="a.ckpt")
    for lr in (0.1, 0.3):
        continued, whole = fit(lr, 3, "a.ckpt"), fit(lr, 3)
        for one, other in zip(continued.optimizers, whole.optimizers, strict=True):
            assert one.param_groups[0]["lr"] == pytest.approx(other.param_groups[0]["lr"], abs=1e-9)


@pytest.mark.parametrize("name", ["Adam", "RMSprop"])
def test_an_argument_that_needs_other_state_starts_it_afresh(fit, name):
    new = {"amsgrad": True} if name == "Adam" else {"centered": True, "momentum": 0.5}
    fit(lambda module: build_optimizer(name, module, 0.1), 1, save="a.ckpt")
    trainer = fit(lambda module: build_optimizer({"name": name, **new}, module, 0.1), 2, "a.ckpt")
    assert trainer.global_step == 8
