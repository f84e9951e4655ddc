"""Changes after a validation take hold, are logged, and survive a resume."""

import pytest
from torch import nn

from lit_opt.engine.callbacks import ChangeHyperparameters, HalveWhenStuck

CHANGES = {"lr": 0.02, "momentum": 0.5, "weight_decay": 0.1, "dropout": 0.4, "batch_size": 32}


class Once(ChangeHyperparameters):
    """Changes something after one validation; notes what it saw, and the size of first batches."""

    def __init__(self, at: int = 2, halve: str | None = None) -> None:
        super().__init__()
        self.at, self.halve, self.sizes = at, halve, []

    def change(self, metrics, hparams):
        self.memory["calls"] = self.memory.get("calls", 0) + 1
        self.seen = hparams
        assert metrics["val/loss"] > 0
        if self.memory["calls"] != self.at:
            return {}
        return {self.halve: hparams[self.halve] / 2} if self.halve else CHANGES

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 0:
            self.sizes.append(len(batch[0]))


@pytest.fixture
def fit(run):
    """`fit(*words)`: a run with `Once`, the callback, its optimizer's values and the dropouts."""

    def fit(*words):
        cli = run(*words, f"--callbacks+={__name__}.Once", "--no_test")
        callback = next(c for c in cli.trainer.callbacks if isinstance(c, Once))
        group = cli.trainer.optimizers[0].param_groups[0]
        values = {key: group[key] for key in CHANGES if key in group}
        dropouts = {m.p for m in cli.model.modules() if isinstance(m, nn.Dropout)}
        return cli, callback, {**values, "dropout": dropouts}

    return fit


SGD = ["--optimizer=SGD", "--optimizer.momentum=0.9", "--lr=0.05", "--net.dropout=0.1"]
LAST = ["fit", "--ckpt_path=runs/a/checkpoints/last.ckpt", "--epochs=3"]
AFTER = {"lr": 0.02, "momentum": 0.5, "weight_decay": 0.1, "dropout": {0.4}}


def test_every_kind_of_change_takes_hold_and_is_logged(fit, column, capsys):
    cli, callback, values = fit("--epochs=4", *SGD)
    assert values == AFTER
    assert callback.sizes == [64, 64, 32, 32]
    assert callback.seen == CHANGES
    assert "lr 0.05 -> 0.02" in capsys.readouterr().out
    assert column(cli.folder / "metrics.csv", "hparams/batch_size") == ["32"]


def test_changes_survive_a_resume_but_for_what_the_flags_give_anew(fit):
    fit("--epochs=2", "--name=a", *SGD)
    _, callback, values = fit(*LAST)
    assert values == AFTER
    assert callback.sizes == [32]
    assert callback.memory["calls"] == 3
    _, callback, values = fit(*LAST, "--batch_size=100", "--net.dropout=0.3")
    assert values == AFTER | {"dropout": {0.3}}
    assert callback.sizes == [100]


def test_what_does_not_decay_goes_on_not_to_decay(fit):
    cli, _, _ = fit(
        "--epochs=3", *SGD, "--optimizer.weight_decay=0.01", "--optimizer.no_decay=true"
    )
    groups = cli.trainer.optimizers[0].param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0]


def test_a_smaller_batch_size_does_not_outrun_the_schedule(run):
    once = [f"--callbacks+={__name__}.Once", "--callbacks.at=1", "--callbacks.halve=batch_size"]
    run("--epochs=3", "--scheduler=OneCycleLR", *once, "--no_test")


def test_with_a_scheduler_the_rest_of_the_curve_is_scaled(run):
    options = ["--epochs=4", "--no_test", "--scheduler=CosineAnnealingLR", "--max_steps=63", *SGD]
    plain = run(*options)
    changed = run(*options, f"--callbacks+={__name__}.Once", "--callbacks.halve=lr")
    rate, reference = (c.trainer.optimizers[0].param_groups[0]["lr"] for c in (changed, plain))
    assert rate == pytest.approx(reference / 2)


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


def test_after_every_single_update_as_in_the_tutorial(fit):
    _, callback, values = fit(
        "--val_check_interval=1", "--limit_train_batches=4", "--epochs=1", *SGD
    )
    assert callback.memory["calls"] == 4
    assert values["lr"] == 0.02
