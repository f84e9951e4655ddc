"""Steps in groups are the same steps."""

from functools import partialmethod
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger

from lit_opt.datamodule import ImageData
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.callbacks.ema import EMA
from lit_opt.engine.callbacks.steps_per_execution import StepsPerExecution
from lit_opt.models import MLP
from lit_opt.module import LitModule
from lit_opt.sources import Digits

STEP = {"optimizer": "AdamW", "scheduler": "OneCycleLR", "warmup": 0.1}
HALVED = {"optimizer": "SGD", "scheduler": {"name": "StepLR", "step_size": 1, "gamma": 0.5}}
EPOCH = {"hparams": HALVED, "max_epochs": 3}
ORDINARY: dict[str, SimpleNamespace] = {}  # fits without groups, by their options


class Watch(pl.Callback):
    """Every step as a callback sees it, and the checkpoint after one of them."""

    def __init__(self, save_at=None, path=None):
        self.steps, self.ends, self.save_at, self.path = [], [], save_at, path

    def on_before_backward(self, trainer, pl_module, loss):
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        self.steps.append((trainer.global_step, float(loss.detach()), lr))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.ends.append((trainer.global_step, float(outputs["loss"])))
        if trainer.global_step == self.save_at:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.global_step == self.save_at and self.path.stem == "end":
            trainer.save_checkpoint(self.path)


class Curves(DummyLogger):
    def log_metrics(self, metrics, step):
        self.rows.append((step, sorted(metrics.items())))


@pytest.fixture
def fit(quiet_trainer):
    """Of the digits, 21 batches an epoch, in groups of k."""

    def fit(k, resume=None, hparams=STEP, cls=LitModule, watch=None, callbacks=(), **options):
        torch.manual_seed(0)
        model = cls(MLP((1, 8, 8), hidden=(32,), dropout=0.3), **hparams)
        watch, curves = watch or Watch(), Curves()
        curves.rows = []
        trainer = quiet_trainer(
            callbacks=[*[StepsPerExecution()] * (k > 1), watch, *callbacks],
            logger=curves,
            **{"max_epochs": 2} | options,
        )
        data = ImageData(Digits(), crop_padding=1, steps_per_execution=k)
        trainer.fit(model, data, ckpt_path=resume, weights_only=True)
        return SimpleNamespace(trainer=trainer, model=model, watch=watch, curves=curves)

    return fit


def assert_same(a, b, first=0):
    assert b.watch.steps == a.watch.steps[first:]
    assert b.trainer.global_step == a.trainer.global_step
    for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
        assert p.equal(q)


@pytest.mark.parametrize("k", [2, 8, 20])
@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "bf16-mixed"}, {"precision": "bf16-true"}, EPOCH, {"max_steps": 37}],
)
def test_every_step_is_that_of_the_ordinary_way(fit, k, options):
    one = ORDINARY[str(options)] = ORDINARY.get(str(options)) or fit(1, **options)
    many = fit(k, **options)
    assert_same(one, many)
    assert many.curves.rows == one.curves.rows
    assert {"train/acc", "val/acc"} <= many.trainer.callback_metrics.keys()
    assert set(many.watch.ends) <= set(one.watch.ends)
    assert len(many.watch.ends) < len(one.watch.ends)
    assert many.model.automatic_optimization
    assert "training_step" not in vars(many.model)


@pytest.mark.parametrize("max_steps", [36, 39])  # of groups that end at 29, 37 and 42
def test_max_steps_ends_inside_a_group(fit, max_steps):
    assert_same(fit(1, max_steps=max_steps), fit(8, max_steps=max_steps))


@pytest.mark.parametrize("step", [29, 42])
@pytest.mark.parametrize("where", ["batch", "end"])  # of a batch; of an epoch, if it is one
def test_a_resumed_run_is_the_uninterrupted_one(fit, step, where, tmp_path):
    path = tmp_path / f"{where}.ckpt"
    whole = fit(4, max_epochs=3, watch=Watch(step, path))
    resumed = fit(4, resume=path, max_epochs=3)
    assert_same(whole, resumed, first=step)
    steps = [[step for step, _ in run.curves.rows] for run in (whole, resumed)]
    assert steps[1] == steps[0][-len(steps[1]) :]


def test_what_max_steps_has_cut_off_a_group_is_trained_on_after_a_resume(fit, tmp_path):
    options = {"hparams": {"optimizer": "AdamW"}, "max_epochs": -1}
    whole = fit(4, max_steps=63, **options)
    fit(4, max_steps=39, watch=Watch(39, tmp_path / "x.ckpt"), **options)
    assert_same(whole, fit(4, resume=tmp_path / "x.ckpt", max_steps=63, **options), first=39)


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (4, 8)])
@pytest.mark.parametrize("step", [29, 42])
def test_a_resume_with_other_groups_is_refused(fit, before, after, step, tmp_path):
    fit(before, watch=Watch(step, tmp_path / "end.ckpt"))
    with pytest.raises(UserError, match=f"--steps_per_execution {before}; now it is {after}"):
        fit(after, resume=tmp_path / "end.ckpt", max_epochs=3)


GRADIENT_HOOKS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")


def test_the_hooks_around_the_gradients_are_called_in_every_step(fit):
    calls = []

    def noting(cls):
        note = lambda self, *_, name: calls.append((cls, name))  # noqa: E731
        return type("Noting", (cls,), {n: partialmethod(note, name=n) for n in GRADIENT_HOOKS})

    fit(4, cls=noting(LitModule), callbacks=[noting(pl.Callback)()])
    for cls in (LitModule, pl.Callback):
        assert [name for by, name in calls if by is cls] == [*GRADIENT_HOOKS] * 42


class Logs(LitModule):
    def training_step(self, batch):
        loss = super().training_step(batch, 0)
        self.log("logged/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[1]))
        return {"loss": loss}


def test_what_a_step_logs_is_averaged_over_all_of_them(fit):
    logged = fit(4, cls=Logs).trainer.callback_metrics
    assert float(logged["logged/loss"]) == pytest.approx(float(logged["train/loss"]))


def having(hook, cls=LitModule):
    return type("Own", (cls,), {hook: lambda self, *args, **kwargs: None})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"accumulate_grad_batches": 2}, "--accumulate_grad_batches 2"),
        ({"limit_train_batches": 1}, "--limit_train_batches 1"),
        ({"val_check_interval": 0.5}, "--val_check_interval 0.5"),
        ({"gradient_clip_val": 1.0}, "gradient clipping"),
        ({"callbacks": [EMA()]}, "EMA"),
        ({"callbacks": [having("on_before_zero_grad", pl.Callback)()]}, "callback Own"),
        ({"callbacks": [pl.callbacks.LearningRateFinder()]}, "LearningRateFinder"),
        ({"hparams": {"scheduler": "ReduceLROnPlateau"}}, "ReduceLROnPlateau"),
        ({"hparams": {"optimizer": "LBFGS"}}, "LBFGS"),
        ({"cls": having("optimizer_step")}, "an optimizer_step of your own"),
        ({"cls": having("on_train_batch_start")}, "the module's on_train_batch_start"),
        ({"cls": having("on_before_zero_grad")}, "the module's on_before_zero_grad"),
    ],
)
def test_what_needs_lightning_between_the_steps_is_refused(fit, options, named):
    with pytest.raises(UserError, match=f"can't go with .*{named}.*; set it to 1"):
        fit(2, **options)
