"""The lean step changes no bit, steps aside where it must, and is still the shorter way."""

import lightning.pytorch as pl
import pytest
import torch

from lit_opt.datamodule import ImageData
from lit_opt.engine.tasks.lean import LeanModule, NoProfiler
from lit_opt.models import MLP
from lit_opt.module import LitModule
from lit_opt.sources import Digits


class Ordinary(LitModule):
    """The same module on Lightning's own ways."""

    __setattr__ = pl.LightningModule.__setattr__
    optimizer_step = pl.LightningModule.optimizer_step


def fit(cls: type[LitModule], optimizer: str = "SGD", **options) -> LitModule:
    torch.manual_seed(0)
    model = cls(MLP((1, 8, 8), hidden=(32,), dropout=0.1), optimizer=optimizer)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model, ImageData(Digits()))
    assert trainer.global_step == 42 // options.get("accumulate_grad_batches", 1)
    return model


def plain(model: LitModule) -> bool:
    return model.__dict__["_plain_step"][1]


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "RMSprop"])
@pytest.mark.parametrize("options", [{}, {"precision": "bf16-mixed"}], ids=str)
def test_every_weight_is_that_of_the_ordinary_step(optimizer, options):
    lean, ordinary = fit(LitModule, optimizer, **options), fit(Ordinary, optimizer, **options)
    assert plain(lean)
    for a, b in zip(lean.parameters(), ordinary.parameters(), strict=True):
        assert a.equal(b)


class Watching(pl.Callback):
    seen = 0

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen += 1


def test_a_callback_that_watches_the_gradients_is_called():
    callback = Watching()
    assert not plain(fit(LitModule, callbacks=[callback]))
    assert callback.seen == 42


def test_clipping_clips():
    clipped, ordinary = (
        fit(LitModule, gradient_clip_val=1e-3),
        fit(Ordinary, gradient_clip_val=1e-3),
    )
    assert not plain(clipped)
    free = fit(LitModule)
    for a, b, c in zip(*(m.parameters() for m in (clipped, ordinary, free)), strict=True):
        assert a.equal(b)
        assert not a.equal(c)


def test_lbfgs_gets_its_closure():
    assert not plain(fit(LitModule, "LBFGS"))


def test_a_profiler_that_was_asked_for_sees_the_step():
    assert not plain(fit(LitModule, profiler="simple"))
    assert plain(fit(LitModule, profiler=NoProfiler()))


def test_accumulation_steps_every_so_many_batches():
    lean, ordinary = (fit(cls, accumulate_grad_batches=3) for cls in (LitModule, Ordinary))
    for a, b in zip(lean.parameters(), ordinary.parameters(), strict=True):
        assert a.equal(b)


def test_lightning_still_sets_the_name_that_has_a_short_cut(monkeypatch):
    names = []
    ordinary = LeanModule.__setattr__

    def spy(self, name, value):
        names.append(name)
        ordinary(self, name, value)

    monkeypatch.setattr(LeanModule, "__setattr__", spy)
    fit(LitModule)
    assert names.count("_current_fx_name") > 42 * 10


def test_a_fused_optimizer_ends_where_the_plain_one_does():
    fused, unfused = fit(LitModule, "AdamW"), fit(LitModule, {"name": "AdamW", "fused": False})
    assert fused.optimizers_for(1, 1)[0][0].defaults["fused"]
    for a, b in zip(fused.parameters(), unfused.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_whose_a_batch_hook_is_is_found_out_once():
    model = fit(LitModule)
    assert model.trainer._data_connector._datahook_selector.get_instance.cache_info().misses == 3


def test_lightning_still_warns_of_a_batch_hook_that_is_not_called():
    class Both(LitModule):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            raise AssertionError

    with pytest.warns(UserWarning, match="on_after_batch_transfer` in both"):
        fit(Both)
