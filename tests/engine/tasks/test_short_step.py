"""The short step changes no bit and steps aside where something else takes part in it."""

from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from lit_opt.datamodule import ImageData
from lit_opt.engine.tasks.short_step import NoProfiler, shorten_step
from lit_opt.models import MLP
from lit_opt.module import LitModule
from lit_opt.sources import Digits


class Ordinary(LitModule):
    """The same module on Lightning's own ways."""

    __setattr__ = pl.LightningModule.__setattr__
    optimizer_step = pl.LightningModule.optimizer_step


class Watching(pl.Callback):
    seen = 0

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.seen += 1


class Clips(LitModule):
    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **options: Any) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=1e-3, gradient_clip_algorithm="norm")


@pytest.fixture
def fit(quiet_trainer):
    def fit(cls=LitModule, optimizer="SGD", **options: Any) -> LitModule:
        torch.manual_seed(0)
        model = cls(MLP((1, 8, 8), hidden=(32,), dropout=0.1), optimizer=optimizer)
        trainer = quiet_trainer(max_epochs=2, **options)
        trainer.fit(model, ImageData(Digits()))
        assert trainer.global_step == 42 // options.get("accumulate_grad_batches", 1)
        return model

    return fit


def is_short(model: LitModule) -> bool:
    return model._plain_step[1]


def assert_same_weights(a: LitModule, b: LitModule) -> None:
    torch.testing.assert_close(list(a.parameters()), list(b.parameters()), atol=0, rtol=0)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "RMSprop"])
@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 3}, {"profiler": NoProfiler()}],
)
def test_every_weight_is_that_of_the_ordinary_step(fit, optimizer, options):
    short = fit(LitModule, optimizer, **options)
    assert is_short(short)
    assert_same_weights(short, fit(Ordinary, optimizer, **options))


@pytest.mark.parametrize(
    ("cls", "optimizer", "options", "changes"),
    [
        (LitModule, "SGD", {"gradient_clip_val": 1e-3}, True),
        (LitModule, "SGD", {"profiler": "simple"}, False),
        (LitModule, "LBFGS", {}, True),
        (LitModule, "SGD", {"callbacks": [Watching()]}, False),
        (Clips, "SGD", {}, True),
    ],
)
def test_it_steps_aside(fit, cls, optimizer, options, changes):
    model = fit(cls, optimizer, **options)
    assert not is_short(model)
    assert [watching.seen for watching in options.get("callbacks", [])] in ([], [42])
    pairs = zip(model.parameters(), fit().parameters(), strict=True)
    assert all(p.equal(q) for p, q in pairs) != changes


@pytest.mark.parametrize("scheduler", ["OneCycleLR", "CosineAnnealingLR"])
def test_a_fitted_schedule_stays_at_its_end_in_a_longer_run(quiet_trainer, scheduler):
    """Torch's OneCycleLR raises an error there, and its cosine rises again."""
    model = LitModule(MLP((1, 8, 8), hidden=(8,)), scheduler=scheduler, warmup=0.1)
    trainer = quiet_trainer()
    trainer.fit(model, ImageData(Digits()))
    [config], [group] = trainer.lr_scheduler_configs, trainer.optimizers[0].param_groups
    lr = group["lr"]
    for _ in range(5):
        model.lr_scheduler_step(config.scheduler, None)
    assert group["lr"] == lr < 1e-6


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_adam_opens_no_library_for_a_gpu_that_is_not_there(monkeypatch):
    def missing(library, name, *args, **options):
        opened.append(name)
        raise OSError

    opened: list[str] = []
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # as Lightning does
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    weight = torch.zeros(2, requires_grad=True)
    weight.grad, optimizer = torch.ones(2), torch.optim.Adam([weight])
    shorten_step(LitModule(MLP()))
    shorten_step(LitModule(MLP()))
    monkeypatch.setattr("ctypes.CDLL.__init__", missing)
    optimizer.step()
    assert opened == []
