"""Hooks that do nothing are not called; those that do something are, as ever."""

import lightning.pytorch as pl
import pytest
from conftest import main

from lit_opt.engine.tasks.hooks import STEP_HOOKS
from lit_opt.module import LitModule


class Counts(pl.Callback):
    seen = 0

    def on_after_backward(self, trainer, pl_module):
        Counts.seen += 1


class CountsToo(LitModule):
    def on_before_zero_grad(self, optimizer):
        self.__dict__["seen"] = self.__dict__.get("seen", 0) + 1


@pytest.mark.parametrize("name", STEP_HOOKS)
def test_lightning_skips_a_hook_that_is_none(name, monkeypatch, tmp_path):
    def called(*_):
        raise AssertionError(name)

    monkeypatch.setattr(pl.Callback, name, called)
    monkeypatch.setattr(pl.LightningModule, name, called)
    main(["fit", "--epochs", "1", "--default_root_dir", str(tmp_path), "--no_test"])


def test_overridden_hooks_are_called_in_every_step(tmp_path):
    words = ["fit", "--epochs", "2", "--default_root_dir", str(tmp_path)]
    words.append(f"--callbacks+={__name__}.Counts")
    cli = main(words, model=CountsToo, allow=[__name__])
    assert Counts.seen == cli.model.seen == cli.trainer.global_step == 42
