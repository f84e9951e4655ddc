"""Nan and inf stop a run before they reach a file, and the step is named."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from conftest import ROOT
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.nn import functional as F

from lit_opt.datamodule import ImageData
from lit_opt.engine.callbacks import StopAtNonFinite
from lit_opt.engine.callbacks.finite import READ_EVERY
from lit_opt.engine.errors import RunError
from lit_opt.module import LitModule
from lit_opt.sources import Digits

NAN, INF = float("nan"), float("inf")
MODES = pytest.mark.parametrize("per_step", [True, False], ids=["per step", "history"])
PER_STEP_OFF = ["--callbacks+=StopAtNonFinite", "--callbacks.per_step=false"]


class Net(nn.Module):
    """A small net whose n-th training output, from 1, is multiplied by `factor`."""

    def __init__(self, bad: int = 0, factor: float = NAN) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)
        )
        self.bad, self.factor, self.calls = bad, factor, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        outputs = self.layers(x)
        return self.spoil(outputs) if self.training and self.calls == self.bad else outputs

    def spoil(self, outputs: Tensor) -> Tensor:
        return outputs * self.factor


class Steep(Net):
    """Finite outputs; the n-th training batch has a gradient of nan (sqrt at 0)."""

    def spoil(self, outputs: Tensor) -> Tensor:
        return outputs + (outputs * 0).abs().sqrt()


class Cliff(Net):
    """Finite outputs and gradients; those of the n-th training batch are as large as 1e30."""

    def spoil(self, outputs: Tensor) -> Tensor:
        return outputs + 1e30 * (outputs - outputs.detach())


class Deaf(Net):
    """Its loss does not show that the inputs are bad."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.nan_to_num())


class Data(ImageData):
    """Sample 5 of the n-th training batch, from 1, has a value that is not finite."""

    bad, value, count = 0, NAN, 0

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = super().on_after_batch_transfer(batch, dataloader_idx)
        self.count += self.trainer.training
        if self.trainer.training and self.count == self.bad:
            x[5, 0, 3, 3] = self.value
        return x, y


Fit = Callable[..., LitModule]


@pytest.fixture
def fit(quiet_trainer: Callable[..., pl.Trainer]) -> Fit:
    """A fit of two epochs of 21 batches; the initial weights are always the same."""

    def fit(
        net: nn.Module,
        per_step: bool | None,
        optimizer: Any = "AdamW",
        data: ImageData | None = None,
        module: type[LitModule] = LitModule,
        **options: Any,
    ) -> LitModule:
        torch.manual_seed(0)
        for layer in net.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        model = module(net, F.cross_entropy, optimizer=optimizer)
        callbacks = [] if per_step is None else [StopAtNonFinite(per_step)]
        callbacks += options.pop("callbacks", [])
        trainer = quiet_trainer(**{"max_epochs": 2, "callbacks": callbacks} | options)
        trainer.fit(model, data or ImageData(Digits()))
        return model

    return fit


@pytest.fixture
def stopped(fit: Fit) -> Callable[..., str]:
    def stopped(*args: Any, **options: Any) -> str:
        with pytest.raises(RunError) as caught:
            fit(*args, **options)
        assert len(str(caught.value).splitlines()) <= 3
        return str(caught.value)

    return stopped


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(x.equal(y) for x, y in pairs)


def bad_batch(number: int) -> list[str]:
    """The words of a run whose n-th training batch, from 1, has outputs of nan."""
    return [f"--net={__name__}.Net", f"--net.bad={number}"]


# ---- the command line ----


@pytest.mark.parametrize(
    ("options", "place", "saved"),
    [
        ([], "step 30 (epoch 2, batch 9, lr 0.001); this update was not made", 21),
        (["--accumulate_grad_batches=4"], "step 9 (epoch 2, batch 9, lr 0.001)", 6),
        (["--precision=bf16-mixed"], "step 30 (epoch 2, batch 9, lr 0.001)", 21),
        (["--steps_per_execution=4"], "step 30 (epoch 2, batch 9, lr 0.001)", 21),
        (["--ema=0.9"], "step 30 (epoch 2, batch 9, lr 0.001)", 21),
        (
            [*PER_STEP_OFF, "--lr=0.01"],
            "step 30 (epoch 2, batch 9, lr 0.01); read after step 42",
            21,
        ),
    ],
    ids=str,
)
def test_a_loss_of_nan_fails_the_run_and_leaves_the_files(fails, options, place, saved):
    error = fails("--name=a", "--epochs=3", *bad_batch(30), *options, code=1).splitlines()
    assert f"the loss is nan{' or inf' if len(options) == 3 else ''} at {place}" in error[0]
    assert "lower --lr, or set --gradient_clip_val 1" in error[1]
    assert ("its inputs are finite" in error[1]) != ("--steps_per_execution=4" in options)
    assert ("--precision 32-true" in error[1]) == ("--precision=bf16-mixed" in options)
    for file in ("last", "best"):
        checkpoint = torch.load(f"runs/a/checkpoints/{file}.ckpt", weights_only=True)
        assert checkpoint["global_step"] == saved
        assert all(t.isfinite().all() for t in checkpoint["state_dict"].values())


@pytest.mark.parametrize("options", [[], PER_STEP_OFF], ids=["per step", "history"])
def test_a_failed_first_epoch_leaves_no_checkpoint(fails, options):
    fails("--name=a", *bad_batch(3), *options, code=1)
    assert not list(Path("runs/a").rglob("*.ckpt"))


@pytest.mark.filterwarnings("ignore:.*barebones.*")
def test_barebones_goes_without(run):
    done = run("--epochs=1", "--no_test", "--barebones=true", *bad_batch(3))
    assert done.trainer.global_step == 21


@pytest.mark.slow
def test_two_processes_stop_together_and_one_tells_why():
    words = ["--accelerator=cpu", "--devices=2", "--optimizer=SGD", "--lr=1e30", "--epochs=2"]
    command = [sys.executable, str(ROOT / "train.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the loss is nan or inf at step 2 ")
    assert len(done.stderr.splitlines()) == 2


# ---- the step that is named ----


@MODES
@pytest.mark.parametrize(
    ("optimizer", "accumulate"),
    [
        ("AdamW", 1),
        ("AdamW", 4),
        ({"name": "SGD", "momentum": 0.9, "fused": False}, 1),
        ("Muon", 1),
    ],
    ids=str,
)
def test_the_bad_step_is_named_and_not_made(fit, stopped, optimizer, accumulate, per_step):
    """The bad batch, the 14th, is in the middle of an accumulation."""
    net, twin = Net(bad=14), Net()
    for each in (net, twin):
        each.layers.insert(4, nn.Linear(16, 16))  # Muon's
    options, steps = {"accumulate_grad_batches": accumulate}, 13 // accumulate
    error = stopped(net, per_step, optimizer, **options)
    assert f"step {steps + 1} (epoch 1, batch 14, lr 0.001)" in error
    assert net.calls == (14 if per_step else 21)  # the history is read at the epoch's end
    if per_step:
        assert same_weights(net, fit(twin, None, optimizer, max_steps=steps, **options).net)


@MODES
def test_a_sound_run_ends_with_the_same_weights_as_without(fit, per_step):
    with_it = fit(Net(), per_step)
    assert same_weights(with_it, fit(Net(), None))
    assert with_it._plain_step[1]  # the short step is kept


def test_a_history_is_read_within_long_epochs(stopped):
    net, data = Net(bad=2 * READ_EVERY + 10), ImageData(Digits(), batch_size=8)
    assert "step 110 (epoch 1, batch 110" in stopped(net, False, data=data)
    assert net.calls == 3 * READ_EVERY


def test_the_lr_named_is_that_of_the_bad_step(fails):
    words = ["--epochs=1", "--optimizer=SGD", "--warmup=0.96", *PER_STEP_OFF]
    error = fails(*words, *bad_batch(11), code=1)
    assert "lr 0.00052381)" in error  # 11/21 of 0.001


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
    error = stopped(Net(bad=15), per_step, module=Manual)  # the first update of the 8th batch
    assert "step 15 (epoch 1, batch 8" in error


# ---- the inputs ----


@MODES
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("make", [Net, Deaf])
def test_bad_inputs_are_told_from_a_bad_net(stopped, per_step, value, make):
    data = Data(Digits())
    data.bad, data.value = 9, value
    error = stopped(make(), per_step, data=data)
    assert "step 9 (epoch 1, batch 9, lr 0.001)" in error
    assert "the data is at fault" in error
    assert "--lr" not in error
    what = "x of the batch's samples 5" if per_step else "the batch"
    assert error.startswith(f"{what} is nan or inf")


def test_bad_targets_are_the_data_s_fault(fails, monkeypatch):
    after = ImageData.on_after_batch_transfer

    def spoilt(self, batch, dataloader_idx):
        x, y = after(self, batch, dataloader_idx)
        return x, torch.full_like(y, NAN) if self.trainer.training else y

    monkeypatch.setattr(ImageData, "on_after_batch_transfer", spoilt)
    error = fails("--dataset=Diabetes", code=1)
    assert error.startswith("error: y of the batch's samples 0, 1, 2, 3, 4 is nan or inf at step 1")


def test_numbers_whose_sum_overflows_are_finite(fit):
    class HugeData(ImageData):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            x, y = super().on_after_batch_transfer(batch, dataloader_idx)
            return x.abs() * 1e37, y

    class Huge(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * 1e-37)

    assert fit(Huge(), True, data=HugeData(Digits())).trainer.global_step == 42


# ---- weights, statistics and the optimizer's state ----


@MODES
def test_weights_spoilt_by_gradients_stop_at_the_next_loss(stopped, per_step):
    error = stopped(Steep(bad=7), per_step)
    assert "at step 8 (epoch 1, batch 8" in error
    assert ("net.layers.1.bias was not finite before it" in error) == per_step


@MODES
@pytest.mark.parametrize(
    ("make", "what"),
    [(Steep, "net.layers.1.bias"), (Cliff, "the optimizer's exp_avg_sq of net.layers.1.bias")],
)
def test_spoilt_state_is_neither_validated_nor_saved(stopped, fit, tmp_path, per_step, make, what):
    """Adam's average of an infinite square stays infinite: the weight would never move again."""
    error = stopped(make(bad=42), per_step)
    assert error.startswith(f"{what} is nan or inf after step 42 (epoch 2, lr 0.001)")
    assert "--detect_anomaly true" in error
    keep = pl.callbacks.ModelCheckpoint(tmp_path, "last", enable_version_counter=False)
    saving = {"limit_val_batches": 0, "enable_checkpointing": True, "callbacks": [keep]}
    assert "after step 42" in stopped(make(bad=42), per_step, **saving)
    [path] = tmp_path.glob("*.ckpt")
    assert torch.load(path, weights_only=True)["global_step"] == 21


def test_spoilt_running_means_are_not_saved(fit):
    net = Net()

    class Spoil(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            net.layers[2].running_mean.fill_(NAN)
            with pytest.raises(RunError, match=r"net.layers.2.running_mean is nan or inf"):
                trainer.save_checkpoint("a.ckpt")
            trainer.should_stop = True

    fit(net, None, limit_val_batches=0, callbacks=[StopAtNonFinite(), Spoil()])
    assert not Path("a.ckpt").exists()


@MODES
def test_what_was_never_finite_is_no_fault(fit, per_step):
    net = Net()
    net.register_buffer("mask", torch.full((3,), -INF))
    model = fit(net, per_step)
    model.trainer.save_checkpoint("a.ckpt")
    assert model.trainer.global_step == 42


# ---- what others mend ----


def half(**options: Any) -> dict[str, Any]:
    scaler = torch.amp.GradScaler("cpu", **options)
    return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}


class HalfLoss(LitModule):
    def step(self, batch: Any, scores: Any) -> Tensor:
        return super().step(batch, scores).half()


@MODES
@pytest.mark.parametrize("optimizer", ["AdamW", {"name": "AdamW", "fused": True}], ids=str)
def test_a_scaler_skips_infinite_gradients_but_not_a_loss_of_nan(fit, stopped, per_step, optimizer):
    model = fit(Steep(bad=7), per_step, **half())
    assert all(p.isfinite().all() for p in model.parameters())
    assert model.trainer.global_step == 42
    high = fit(Net(), per_step, module=HalfLoss, **half(init_scale=2.0**40))
    assert high.trainer.global_step == 42
    assert "step 14 (epoch 1, batch 14" in stopped(Net(bad=14), per_step, optimizer, **half())


@MODES
@pytest.mark.parametrize(
    ("optimizer", "loss", "stops"),
    [("LBFGS", INF, False), ("LBFGS", NAN, True), ("AdamW", INF, True), ("AdamW", NAN, True)],
)
def test_a_line_search_may_try_infinite_losses_but_not_nan(fit, per_step, optimizer, loss, stops):
    callback, model = StopAtNonFinite(per_step), fit(Net(), None, optimizer, max_steps=1)
    callback.on_train_start(model.trainer, model)
    callback.on_train_batch_start(model.trainer, model, None, 0)
    try:
        callback.on_before_backward(model.trainer, model, torch.tensor(loss))
        callback.on_train_epoch_end(model.trainer, model)
    except RunError:
        assert stops
    else:
        assert not stops


# ---- a device whose work is not waited for ----


def test_nothing_is_read_between_two_readings(fit, monkeypatch):
    """Every way from a tensor to a Python number would make the host wait for a GPU."""
    reads = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__"):
        original = getattr(Tensor, name)

        def spy(self: Tensor, *args: Any, name: str = name, original: Any = original) -> Any:
            reads.append(name)
            return original(self, *args)

        monkeypatch.setattr(Tensor, name, spy)
    callback = StopAtNonFinite(per_step=False)
    model = fit(Net(), None, max_steps=1)
    callback.on_train_start(model.trainer, model)
    reads.clear()
    batch = (torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
    for step in range(READ_EVERY):
        callback.on_train_batch_start(model.trainer, model, batch, step)
        callback.on_before_backward(model.trainer, model, torch.ones((), requires_grad=True))
    assert reads == []
    callback.on_train_epoch_end(model.trainer, model)
    assert reads == ["tolist"]
