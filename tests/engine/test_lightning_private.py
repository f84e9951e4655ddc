"""A canary for each private name: it fails when the name stops working, and shows the fallback."""

import lightning
import lightning.pytorch as pl
import pytest
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ConstantLR, LinearLR, SequentialLR

from lit_opt.datamodule import ImageData
from lit_opt.engine.lightning_private import (
    STEP_HOOKS,
    QuickHookName,
    hide_idle_hooks,
    schedulers_within,
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


def test_lightning_sets_the_name_that_has_a_short_cut(quiet_trainer, monkeypatch):
    names = []
    ordinary = QuickHookName.__setattr__

    def spy(self, name, value):
        names.append(name)
        ordinary(self, name, value)

    monkeypatch.setattr(QuickHookName, "__setattr__", spy)
    quiet_trainer().fit(LitModule(MLP((1, 8, 8), hidden=(8,))), ImageData(Digits()))
    assert names.count("_current_fx_name") > 21 * 10


def test_a_sequence_of_schedulers_tells_its_parts():
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    parts = [LinearLR(optimizer), ConstantLR(optimizer)]
    sequence = SequentialLR(optimizer, parts, milestones=[3])
    assert schedulers_within(sequence) == parts
    del sequence._schedulers
    assert schedulers_within(sequence) == schedulers_within(parts[0]) == []


# ---- loading ----


# ---- resuming ----


# ---- the command line ----
