"""Changes after a validation take hold, are logged, and survive a resume."""

import pytest
import torch
from conftest import main
from torch import nn

from lit_opt.engine.callbacks import ChangeHyperparameters, HalveWhenStuck


class ChangeOnce(ChangeHyperparameters):
    """Changes everything after the second validation, and notes what it saw."""

    changes = {"lr": 0.02, "momentum": 0.5, "weight_decay": 0.1, "dropout": 0.4, "batch_size": 32}

    def change(self, metrics, hparams):
        self.memory["calls"] = self.memory.get("calls", 0) + 1
        self.seen = hparams
        assert metrics["val/loss"] > 0
        return self.changes if self.memory["calls"] == 2 else {}


class Sizes(ChangeOnce):
    """Also notes the size of every training batch but each epoch's last."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.sizes = getattr(self, "sizes", [])
        if batch_idx == 0:
            self.sizes.append(len(batch[0]))


SGD = ["--optimizer=SGD", "--optimizer.momentum=0.9", "--lr=0.05", "--net.dropout=0.1"]
PATH = f"{__name__}.Sizes"


def callback(cli):
    return next(c for c in cli.trainer.callbacks if isinstance(c, ChangeHyperparameters))


def test_every_kind_of_change_takes_hold_and_is_logged(run, column, capsys):
    cli = run(f"--callbacks+={PATH}", "--epochs=4", "--name=a", "--no_test", *SGD)
    [group] = cli.trainer.optimizers[0].param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.02, 0.5, 0.1)
    assert {m.p for m in cli.model.modules() if isinstance(m, nn.Dropout)} == {0.4}
    assert callback(cli).sizes == [64, 64, 32, 32]
    assert callback(cli).seen == ChangeOnce.changes
    assert "lr 0.05 -> 0.02" in capsys.readouterr().out
    assert column(cli.folder / "metrics.csv", "hparams/batch_size") == ["32"]


def test_changes_survive_a_resume(run):
    run(f"--callbacks+={PATH}", "--epochs=2", "--name=a", "--no_test", *SGD)
    cli = run(
        *("fit", "--ckpt_path=runs/a/checkpoints/last.ckpt", f"--callbacks+={PATH}", "--epochs=3")
    )
    [group] = cli.trainer.optimizers[0].param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.02, 0.5, 0.1)
    assert {m.p for m in cli.model.modules() if isinstance(m, nn.Dropout)} == {0.4}
    assert callback(cli).sizes == [32]
    assert callback(cli).memory["calls"] == 3


def test_what_the_flags_give_anew_is_not_changed_back(run):
    run(f"--callbacks+={PATH}", "--epochs=2", "--name=a", "--no_test", *SGD)
    cli = run(
        *("fit", "--ckpt_path=runs/a/checkpoints/last.ckpt", f"--callbacks+={PATH}", "--epochs=3"),
        *("--batch_size=100", "--net.dropout=0.3"),
    )
    assert callback(cli).sizes == [100]
    assert {m.p for m in cli.model.modules() if isinstance(m, nn.Dropout)} == {0.3}


def test_a_smaller_batch_size_does_not_outrun_the_schedule(run):
    name = f"{__name__}.HalveBatch"
    run("--epochs=3", "--scheduler=OneCycleLR", f"--callbacks+={name}", "--no_test")


class HalveBatch(ChangeOnce):
    changes = {"batch_size": 32}

    def change(self, metrics, hparams):
        self.memory["calls"] = self.memory.get("calls", 0) + 1
        return self.changes if self.memory["calls"] == 1 else {}


def test_with_a_scheduler_the_rest_of_the_curve_is_scaled(run):
    options = ["--epochs=4", "--no_test", "--scheduler=CosineAnnealingLR", *SGD]
    plain = run(*options, "--max_steps=63")
    changed = run(*options, "--max_steps=63", f"--callbacks+={__name__}.HalveOnce")
    rate, reference = (c.trainer.optimizers[0].param_groups[0]["lr"] for c in (changed, plain))
    assert rate == pytest.approx(reference / 2)


class HalveOnce(ChangeOnce):
    def change(self, metrics, hparams):
        self.memory["calls"] = self.memory.get("calls", 0) + 1
        return {"lr": hparams["lr"] / 2} if self.memory["calls"] == 2 else {}


class Nonsense(ChangeHyperparameters):
    def change(self, metrics, hparams):
        return {"temperature": 1.0}


def test_an_unknown_hyperparameter_is_refused_by_name(fails):
    error = fails(f"--callbacks+={__name__}.Nonsense", "--epochs=1")
    assert "temperature" in error
    assert "lr, weight_decay, batch_size" in error


def test_the_example_halves_lr_when_the_loss_has_not_fallen_for_patience_validations():
    halve = HalveWhenStuck(patience=2)
    losses = [1.0, 0.9, 0.95, 0.92, 0.91, 0.93, 0.8]
    changes = [halve.change({"val/loss": loss}, {"lr": 0.4}) for loss in losses]
    assert changes == [{}, {}, {}, {"lr": 0.2}, {}, {"lr": 0.2}, {}]


def test_after_every_single_update_as_in_the_tutorial():
    cli = main(
        ["--val_check_interval=1", f"--callbacks+={PATH}", "--limit_train_batches=4"]
        + ["--epochs=1", "--no_test", *SGD]
    )
    assert callback(cli).memory["calls"] == 4
    assert torch.tensor(cli.trainer.optimizers[0].param_groups[0]["lr"]) == 0.02
