"""Steps in groups are the same steps."""

import lightning.pytorch as pl
import pytest
import torch

from lit_opt.datamodule import ImageData
from lit_opt.engine.errors import UserError
from lit_opt.engine.tasks.hooks import STEP_HOOKS
from lit_opt.models import MLP
from lit_opt.module import LitModule
from lit_opt.sources import Digits


class Steps(pl.Callback):
    """What a callback sees of every step."""

    def __init__(self):
        self.losses, self.steps, self.lrs = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        self.steps.append(trainer.global_step)
        self.lrs.append(trainer.optimizers[0].param_groups[0]["lr"])


def fit(k: int, resume=None, model=None, data=None, cls=LitModule, **options):
    torch.manual_seed(0)
    model = cls(
        MLP((1, 8, 8), hidden=(32,), dropout=0.3),
        optimizer="AdamW",
        scheduler="OneCycleLR",
        warmup=0.1,
        **(model or {}),
    )
    data = ImageData(Digits(), crop_padding=1, steps_per_execution=k, **(data or {}))
    steps = Steps()
    options = {"max_epochs": 2} | options
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[steps, *options.pop("callbacks", [])],
        **options,
    )
    trainer.fit(model, data, ckpt_path=resume, weights_only=True)
    return trainer, model, steps


def assert_same(a, b):
    (ta, ma, sa), (tb, mb, sb) = a, b
    assert sa.steps == sb.steps
    assert sa.losses == sb.losses
    assert sa.lrs == sb.lrs
    assert ta.global_step == tb.global_step
    scores = [{k: float(v) for k, v in t.callback_metrics.items()} for t in (ta, tb)]
    assert scores[0] == scores[1]
    assert {"train/acc", "val/acc"} <= scores[0].keys()
    for p, q in zip(ma.parameters(), mb.parameters(), strict=True):
        assert p.equal(q)


@pytest.mark.parametrize("k", [2, 8, 20])
@pytest.mark.parametrize("options", [{}, {"precision": "bf16-mixed"}, {"max_steps": 37}], ids=str)
def test_every_step_is_that_of_the_ordinary_way(k, options):
    assert_same(fit(1, **options), fit(k, **options))


@pytest.mark.parametrize("step", [28, 29, 42])  # inside a group, at its end, at an epoch's
def test_a_resumed_run_is_the_uninterrupted_one(step, tmp_path):
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == step:
                trainer.save_checkpoint(tmp_path / "x.ckpt")

    whole = fit(4, max_epochs=3, callbacks=[Save()])
    _, model, steps = fit(4, resume=tmp_path / "x.ckpt", max_epochs=3)
    assert steps.steps == list(range(step + 1, 64))
    assert steps.losses == whole[2].losses[step:]
    for p, q in zip(model.parameters(), whole[1].parameters(), strict=True):
        assert p.equal(q)


class Hooks(pl.Callback):
    def __init__(self):
        self.calls = []


class Hooked(LitModule):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.__dict__["calls"] = []


for name in STEP_HOOKS:
    setattr(Hooks, name, lambda self, *_, name=name: self.calls.append(name))
    if name != "on_train_batch_start":
        setattr(Hooked, name, lambda self, *_, name=name: self.calls.append(name))


def test_every_hook_of_a_step_is_called_in_every_step():
    calls = []
    for k in (1, 4):
        hooks = Hooks()
        _, module, _ = fit(k, cls=Hooked, callbacks=[hooks])
        calls.append((hooks.calls, module.calls))
    assert calls[0] == calls[1]
    assert calls[0][0][:5] == list(STEP_HOOKS)
    assert len(calls[0][1]) == 4 * 42


class Logs(LitModule):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("logged/loss", loss, on_step=False, on_epoch=True)
        return loss

    def on_after_backward(self):
        self.log("logged/norm", self.net.layers[-1].weight.grad.norm(), on_epoch=True)


def test_what_a_step_logs_is_averaged_over_all_of_them():
    means = []
    for k in (1, 4):
        trainer, _, _ = fit(k, cls=Logs)
        logged = trainer.callback_metrics
        means.append([float(logged[f"logged/{name}"]) for name in ("loss", "norm_epoch")])
        assert means[-1][0] == pytest.approx(float(logged["train/loss"]))
    assert means[0] == pytest.approx(means[1])


class OwnStep(LitModule):
    def optimizer_step(self, epoch, batch_idx, optimizer, closure=None):
        super().optimizer_step(epoch, batch_idx, optimizer, closure)


class MayEndTheEpoch(LitModule):
    def on_train_batch_start(self, batch, batch_idx):
        return -1


class Watching(pl.Callback):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        pass


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches 2"),
        ({"limit_train_batches": 1}, "limit_train_batches 1"),
        ({"val_check_interval": 0.5}, "val_check_interval 0.5"),
        ({"gradient_clip_val": 1.0}, "gradient clipping"),
        ({"callbacks": [Watching()]}, "watches the gradients"),
        ({"cls": OwnStep}, "optimizer_step of your own"),
        ({"cls": MayEndTheEpoch}, "may end the epoch"),
    ],
)
def test_what_needs_lightning_between_the_steps_is_refused(options, named):
    with pytest.raises(UserError, match=named):
        fit(2, **options)
