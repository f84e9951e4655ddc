"""Nan and inf stop a run before they reach a file, and the step is named."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.nn import functional as F

from lit_opt.datamodule import ImageData
from lit_opt.engine.base.errors import RunError
from lit_opt.engine.callbacks import StopAtNonFinite
from lit_opt.engine.callbacks.finite import READ_EVERY
from lit_opt.module import LitModule
from lit_opt.sources import Digits

NAN, INF = float("nan"), float("inf")
MODES = pytest.mark.parametrize("per_step", [True, False], ids=["per step", "history"])
SGD = {"name": "SGD", "momentum": 0.9, "fused": False}
HISTORY = "--callbacks+=StopAtNonFinite --callbacks.per_step=false"
SPOILT = {
    "outputs": lambda y: y * NAN,
    "gradients": lambda y: y + (y * 0).abs().sqrt(),  # finite outputs, gradients of nan
    "squares": lambda y: y + 1e30 * (y - y.detach()),  # finite gradients, as large as 1e30
}


class Net(nn.Module):
    """A small net that always starts alike; its n-th training output, from 1, is spoilt."""

    def __init__(self, bad: int = 0, what: str = "outputs") -> None:
        super().__init__()
        torch.manual_seed(0)
        first, hidden, last = nn.Linear(64, 16), nn.Linear(16, 16), nn.Linear(16, 10)
        norm = nn.BatchNorm1d(16)
        self.layers = nn.Sequential(nn.Flatten(), first, norm, nn.ReLU(), hidden, last)
        self.bad, self.what, self.calls = bad, what, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        outputs = self.layers(x)
        return SPOILT[self.what](outputs) if self.training and self.calls == self.bad else outputs


class Data(ImageData):
    """Training batches, only the n-th one, from 1, or all, go through `change`."""

    change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    only, count = 0, 0

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = super().on_after_batch_transfer(batch, dataloader_idx)
        self.count += self.trainer.training
        changed = self.trainer.training and self.only in (0, self.count)
        return self.change(x, y) if changed else (x, y)


@pytest.fixture
def fit(quiet_trainer):
    """A fit of two epochs of 21 batches."""

    def fit(net, per_step, optimizer="AdamW", data=None, module=LitModule, watch=(), **options):
        torch.manual_seed(0)
        model = module(net, F.cross_entropy, optimizer=optimizer)
        stop = [] if per_step is None else [StopAtNonFinite(per_step)]
        trainer = quiet_trainer(**{"max_epochs": 2} | options, callbacks=[*stop, *watch])
        trainer.fit(model, data or ImageData(Digits()))
        return model

    return fit


@pytest.fixture
def stopped(fit):
    """The message of a fit that must stop."""

    def stopped(*args: Any, **options: Any) -> str:
        with pytest.raises(RunError) as caught:
            fit(*args, **options)
        assert len(str(caught.value).splitlines()) <= 3
        return str(caught.value)

    return stopped


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(x.equal(y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def words(options: str, bad: int) -> list[str]:
    """The command line of a run whose n-th training batch, from 1, has outputs of nan."""
    return [f"--net={__name__}.Net", f"--net.bad={bad}", "--name=a", *options.split()]


AT = "nan at step 30 (epoch 2, batch 9, lr 0.001)"


@pytest.mark.parametrize(
    ("options", "place", "saved"),
    [
        ("", f"{AT}; this update was not made", 21),
        ("--accumulate_grad_batches=4", "nan at step 9 (epoch 2, batch 9, lr 0.001)", 6),
        ("--precision=bf16-mixed", AT, 21),
        ("--steps_per_execution=4", AT, 21),
        ("--ema=0.9", AT, 21),
        (
            f"{HISTORY} --lr=0.01 --warmup=0.96",  # the bad step's lr is 30/61 of it
            "nan or inf at step 30 (epoch 2, batch 9, lr 0.00491803); read after step 42",
            21,
        ),
    ],
)
def test_a_loss_of_nan_fails_the_run_and_leaves_the_files(fails, options, place, saved):
    error = fails("--epochs=3", *words(options, bad=30), code=1).splitlines()
    assert f"the loss is {place}" in error[0]
    assert "lower --lr, or set --gradient_clip_val 1" in error[1]
    assert ("its inputs are finite" in error[1]) != ("steps_per_execution" in options)
    assert ("--precision 32-true" in error[1]) == ("bf16" in options)
    for file in ("last", "best"):
        checkpoint = torch.load(f"runs/a/checkpoints/{file}.ckpt", weights_only=True)
        assert checkpoint["global_step"] == saved
        assert all(t.isfinite().all() for t in checkpoint["state_dict"].values())


@pytest.mark.parametrize("options", ["", HISTORY], ids=["per step", "history"])
def test_a_failed_first_epoch_leaves_no_checkpoint(fails, options):
    fails(*words(options, bad=3), code=1)
    assert not list(Path("runs/a").rglob("*.ckpt"))


@pytest.mark.filterwarnings("ignore:.*barebones.*")
def test_barebones_goes_without(run):
    done = run(*words("--epochs=1 --no_test --barebones=true", bad=3))
    assert done.trainer.global_step == 21


@MODES
@pytest.mark.parametrize(
    ("optimizer", "accumulate"),
    [
        ("AdamW", 1),
        ("AdamW", 4),
        ({"name": "SGD", "momentum": 0.9, "fused": False}, 1),
        ("Muon", 1),
    ],
)
def test_the_bad_step_is_named_and_not_made(fit, stopped, optimizer, accumulate, per_step):
    """The bad batch, the 14th, is in the middle of an accumulation."""
    net, options, steps = Net(bad=14), {"accumulate_grad_batches": accumulate}, 13 // accumulate
    error = stopped(net, per_step, optimizer, **options)
    assert f"step {steps + 1} (epoch 1, batch 14, lr 0.001)" in error
    assert net.calls == (14 if per_step else 21)  # the history is read at the epoch's end
    if per_step:
        assert same_weights(net, fit(Net(), None, optimizer, max_steps=steps, **options).net)


@MODES
def test_a_sound_run_ends_with_the_same_weights_as_without(fit, per_step):
    """What was never finite, such as a mask, is no fault."""
    net = Net()
    net.register_buffer("mask", torch.full((3,), -INF))
    with_it = fit(net, per_step)
    with_it.trainer.save_checkpoint("a.ckpt")
    assert same_weights(with_it, fit(Net(), None))
    assert with_it._plain_step[1]  # the short step is kept


def test_a_history_is_read_within_long_epochs(stopped):
    net, data = Net(bad=2 * READ_EVERY + 10), ImageData(Digits(), batch_size=8)
    assert "step 110 (epoch 1, batch 110" in stopped(net, False, data=data)
    assert net.calls == 3 * READ_EVERY


class Manual(LitModule):
    """Two updates a batch, as adversarial nets have."""

    automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        for _ in range(2):
            loss = self.step(batch, self.train_scores)
            self.optimizers().zero_grad()
            self.manual_backward(loss)
            self.optimizers().step()


@MODES
def test_manual_optimization(stopped, per_step):
    """The bad update is the first of the 8th batch."""
    assert "step 15 (epoch 1, batch 8" in stopped(Net(bad=15), per_step, module=Manual)


def sample_5(value: float) -> Callable[..., Any]:
    return lambda x, y: (x.index_fill(0, torch.tensor(5), value), y)


@MODES
@pytest.mark.parametrize("deaf", [False, True], ids=["", "the loss does not show it"])
@pytest.mark.parametrize(
    ("change", "what"),
    [(sample_5(value), "x of the batch's samples 5") for value in (NAN, INF, -INF)]
    + [(lambda x, y: (x, torch.full((len(y), 10), NAN)), "y of the batch's samples 0, 1, 2, 3, 4")],
)
def test_bad_data_is_told_from_a_bad_net(stopped, per_step, deaf, change, what):
    net, data = Net(), Data(Digits())
    data.only, data.change = 9, change
    if deaf:
        net.register_forward_pre_hook(lambda net, inputs: inputs[0].nan_to_num())
    error = stopped(net, per_step, data=data)
    place = "step 9 (epoch 1, batch 9, lr 0.001)"
    assert error.startswith(f"{what if per_step else 'the batch'} is nan or inf at {place}")
    assert "the data is at fault" in error
    assert "--lr" not in error


def test_numbers_whose_sum_overflows_are_finite(fit):
    net, data = Net(), Data(Digits())
    data.change = lambda x, y: (x.abs() * 1e37, y)
    net.register_forward_pre_hook(lambda net, inputs: inputs[0] * 1e-37)
    assert fit(net, True, data=data).trainer.global_step == 42


@MODES
def test_weights_spoilt_by_gradients_stop_at_the_next_loss(stopped, per_step):
    error = stopped(Net(7, "gradients"), per_step)
    assert "at step 8 (epoch 1, batch 8" in error
    assert ("net.layers.1.bias was not finite before it" in error) == per_step


@MODES
@pytest.mark.parametrize(
    ("spoilt", "what"),
    [
        ("gradients", "net.layers.1.bias"),
        ("squares", "the optimizer's exp_avg_sq of net.layers.1.bias"),
    ],
)
def test_spoilt_state_is_neither_validated_nor_saved(stopped, tmp_path, per_step, spoilt, what):
    """Adam's average of an infinite square stays infinite: the weight would never move again."""
    error = stopped(Net(42, spoilt), per_step)
    assert error.startswith(f"{what} is nan or inf after step 42 (epoch 2, lr 0.001)")
    assert "--detect_anomaly true" in error
    keep = pl.callbacks.ModelCheckpoint(tmp_path, "last", enable_version_counter=False)
    saving = {"limit_val_batches": 0, "enable_checkpointing": True, "watch": [keep]}
    assert "after step 42" in stopped(Net(42, spoilt), per_step, **saving)
    [path] = tmp_path.glob("*.ckpt")
    assert torch.load(path, weights_only=True)["global_step"] == 21


def test_spoilt_running_means_are_not_saved(fit):
    class Spoil(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            pl_module.net.layers[2].running_mean.fill_(NAN)
            with pytest.raises(RunError, match=r"net.layers.2.running_mean is nan or inf"):
                trainer.save_checkpoint("a.ckpt")
            trainer.should_stop = True

    fit(Net(), True, limit_val_batches=0, watch=[Spoil()])
    assert not Path("a.ckpt").exists()


def half(**options: Any) -> dict[str, Any]:
    scaler = torch.amp.GradScaler("cpu", **options)
    return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}


class HalfLoss(LitModule):
    def step(self, batch: Any, scores: Any) -> Tensor:
        return super().step(batch, scores).half()


@MODES
@pytest.mark.parametrize("fused", [False, True])
def test_a_scaler_skips_infinite_gradients_but_not_a_loss_of_nan(fit, stopped, per_step, fused):
    optimizer = {"name": "AdamW", "fused": fused}
    skips = fit(Net(7, "gradients"), per_step, optimizer, **half())
    assert all(p.isfinite().all() for p in skips.parameters())
    high = fit(Net(), per_step, optimizer, module=HalfLoss, **half(init_scale=2.0**40))
    assert skips.trainer.global_step == high.trainer.global_step == 42
    assert "step 14 (epoch 1, batch 14" in stopped(Net(14), per_step, optimizer, **half())


@MODES
@pytest.mark.parametrize(
    ("optimizer", "loss", "stops"),
    [("LBFGS", INF, False), ("LBFGS", NAN, True), ("AdamW", INF, True), ("AdamW", NAN, True)],
)
def test_a_line_search_may_try_infinite_losses_but_not_nan(fit, per_step, optimizer, loss, stops):
    callback, model = StopAtNonFinite(per_step), fit(Net(), None, optimizer, max_steps=1)
    callback.on_train_start(model.trainer, model)
    callback.on_train_batch_start(model.trainer, model, None, 0)
    with pytest.raises(RunError) if stops else nullcontext():
        callback.on_before_backward(model.trainer, model, torch.tensor(loss))
        callback.on_train_epoch_end(model.trainer, model)


def test_nothing_is_read_between_two_readings(fit, monkeypatch):
    """Every way from a tensor to a Python number would make the host wait for a GPU."""
    reads, callback, model = [], StopAtNonFinite(per_step=False), fit(Net(), None, max_steps=1)
    callback.on_train_start(model.trainer, model)
    for name in ("item", "tolist", "__bool__", "__float__", "__int__"):
        original = getattr(Tensor, name)

        def spy(self, *args, name=name, original=original):
            reads.append(name)
            return original(self, *args)

        monkeypatch.setattr(Tensor, name, spy)
    batch = (torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
    for step in range(READ_EVERY):
        callback.on_train_batch_start(model.trainer, model, batch, step)
        callback.on_before_backward(model.trainer, model, torch.ones((), requires_grad=True))
    assert reads == []
    callback.on_train_epoch_end(model.trainer, model)
    assert reads == ["tolist"]
