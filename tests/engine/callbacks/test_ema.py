"""The average is the formula's, is what is scored and kept, and training does not notice it."""

from contextlib import nullcontext
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback, LearningRateFinder, ModelCheckpoint
from torch import nn

from lit_opt.datamodule import ImageData
from lit_opt.engine.callbacks import EMA
from lit_opt.module import LitModule
from lit_opt.sources import Digits

DECAY = 0.5  # reached after 8 steps


class Net(nn.Module):
    """With a tied weight, statistics, an integer buffer and a buffer that is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 10)
        self.tied = nn.Linear(64, 32)
        self.tied.weight = self.first.weight
        self.register_buffer("count", torch.tensor(0.0))

    def forward(self, x):
        if self.training:
            self.count = self.count + 1
        x = x.flatten(1)
        return self.last(self.norm(self.first(x)).relu() + self.tied(x))


@pytest.fixture
def fit(quiet_trainer):
    def fit(*callbacks, raises=(), backend=None, **options) -> tuple[pl.Trainer, LitModule]:
        torch.manual_seed(0)
        saves = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
        options = {"max_epochs": 2, "limit_train_batches": 8, **options}
        trainer = quiet_trainer(callbacks=list(callbacks), enable_checkpointing=saves, **options)
        model = LitModule(Net(), optimizer="SGD", lr=0.05)
        if backend:
            model.net.compile(backend=backend)
        with pytest.raises(raises) if raises else nullcontext():
            trainer.fit(model, ImageData(Digits()))
        return trainer, model

    return fit


def copy(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def load(path) -> dict:
    return torch.load(path, weights_only=True)


class ByHand(pl.Callback):
    """The average by its formula, from what training holds after each optimizer step."""

    def on_train_start(self, trainer, pl_module):
        self.average, self.raw, self.step = copy(pl_module), copy(pl_module), 0
        self.shown = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.raw = copy(pl_module)
        if trainer.global_step == self.step:
            return
        d = min(DECAY, (1 + self.step) / (10 + self.step))
        self.step += 1
        for name, raw in self.raw.items():
            old = self.average[name]
            self.average[name] = d * old + (1 - d) * raw if raw.is_floating_point() else raw

    def on_validation_batch_end(self, trainer, pl_module, *args):
        if not trainer.sanity_checking:
            self.shown.append(copy(pl_module))

    def on_train_epoch_end(self, trainer, pl_module):
        assert same(copy(pl_module), self.raw)

    def agrees(self, weights) -> None:
        assert weights.keys() == self.average.keys()
        for name, average in self.average.items():
            torch.testing.assert_close(weights[name], average, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate_grad_batches": 3}, {"precision": "bf16-mixed"}, {"val_check_interval": 4}],
)
def test_the_average_is_the_formulas_and_training_does_not_notice(fit, options):
    hand, ema = ByHand(), EMA(DECAY)
    _, model = fit(ema, hand, **options)
    assert hand.step == (6 if "accumulate_grad_batches" in options else 16)
    hand.agrees(copy(model))
    assert same(hand.shown[-1], copy(model))  # what the last validation scored
    assert not same(hand.raw, copy(model))
    assert model._plain_step[1]  # of lit_opt.engine.tasks.lean
    _, plain = fit(**options)
    assert same(copy(plain), hand.raw)
    assert same(copy(plain), ema.state_dict()["raw"])


TRAINS = ("on_train_batch_start", "on_train_batch_end", "on_train_epoch_end", "on_train_end")
VALIDATES = ("on_validation_start", "on_validation_batch_end", "on_validation_end")


@pytest.mark.parametrize("first", [True, False], ids=["EMA first", "EMA last"])
def test_a_checkpoint_holds_the_average_and_the_raw_weights_whenever_it_is_saved(fit, first):
    hand, ema, files = ByHand(), EMA(DECAY), []

    def save(trainer, *args) -> None:
        if trainer.global_step == 0 or trainer.sanity_checking:
            return
        for weights_only in (False, True):
            files.append("x.ckpt")
            trainer.save_checkpoint("x.ckpt", weights_only=weights_only)
            saved = load("x.ckpt")
            hand.agrees(saved["state_dict"])
            if not weights_only:
                assert same(saved["callbacks"]["EMA"].pop("raw"), hand.raw)
                assert saved["callbacks"]["EMA"] == {"decay": DECAY, "updates": trainer.global_step}

    always = LambdaCallback(**dict.fromkeys([*TRAINS, *VALIDATES], save))
    trainer, _ = fit(*([ema, hand, always] if first else [hand, always, ema]))
    save(trainer)  # after the fit
    assert len(files) > 40


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("hook", ["on_train_batch_end", *VALIDATES])
@pytest.mark.parametrize("first", [True, False], ids=["EMA first", "EMA last"])
def test_after_an_exception_the_module_is_raw_and_the_file_is_right(fit, hook, error, first):
    def stop(trainer, *args):
        if trainer.global_step > 8:
            raise error

    hand, ema, stops = ByHand(), EMA(DECAY), LambdaCallback(**{hook: stop})
    file = ModelCheckpoint("kept", filename="at", save_on_exception=True, save_top_k=0)
    callbacks = [ema, hand, stops] if first else [hand, stops, ema]
    trainer, model = fit(*callbacks, file, raises=(error, SystemExit))
    assert same(copy(model), hand.raw)
    trainer.save_checkpoint("later.ckpt")
    for path in [*Path("kept").iterdir(), "later.ckpt"]:
        saved = load(path)
        hand.agrees(saved["state_dict"])
        assert same(saved["callbacks"]["EMA"]["raw"], hand.raw)


def test_a_validation_scores_what_it_is_given(fit):
    ema = EMA(DECAY)
    last = ModelCheckpoint("kept", filename="last")
    trainer, model = fit(ema, last)
    average, data = copy(model), ImageData(Digits())
    raw = {k: v.clone() for k, v in ema.state_dict()["raw"].items()}
    [scored] = trainer.validate(model, data, verbose=False)
    [loaded] = trainer.validate(model, data, ckpt_path="best", weights_only=True, verbose=False)
    assert scored == loaded
    assert ema.state_dict() == {}
    model.load_state_dict(raw)
    [of_raw] = trainer.validate(model, data, verbose=False)
    assert of_raw["val/loss"] != scored["val/loss"]
    assert same(copy(model), raw)
    fresh = LitModule.load_from_checkpoint("kept/last.ckpt", net=Net(), weights_only=True)
    assert same(copy(fresh), average)


def test_after_a_fit_a_file_holds_what_the_module_holds(fit):
    """On a GPU the module has moved to the CPU by then; here it gets other memory too."""
    trainer, model = fit(EMA(DECAY))
    for parameter in model.parameters():
        parameter.data = parameter.data + 1
    trainer.save_checkpoint("after.ckpt")
    assert same(load("after.ckpt")["state_dict"], copy(model))


def test_a_second_fit_starts_a_new_average_from_what_the_module_holds(fit):
    hand, ema = ByHand(), EMA(DECAY)
    trainer, model = fit(ema, hand)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, ImageData(Digits()))
    assert ema.state_dict()["updates"] == 8
    assert same(ema.state_dict()["raw"], hand.raw)
    assert not same(copy(model), hand.raw)


@pytest.mark.slow
def test_a_net_compiled_in_place_is_averaged_alike(fit):
    _, plain = fit(EMA(DECAY))
    _, model = fit(EMA(DECAY), backend="eager")
    assert same(copy(model), copy(plain))


def test_the_learning_rate_finder_leaves_no_trace_in_the_average(fit, capsys):
    hand = ByHand()
    _, model = fit(LearningRateFinder(num_training_steps=5), EMA(DECAY), hand)
    hand.agrees(copy(model))
    assert "with ema" not in capsys.readouterr().out


# ---- from the command line ----

LAST = "--ckpt_path=runs/a/checkpoints/last.ckpt"
FEW = ["--limit_train_batches=4", "--limit_val_batches=1"]


@pytest.mark.parametrize("words", [[], ["--accumulate_grad_batches=4", "--optimizer=SGD"]])
def test_a_continued_fit_ends_as_the_uninterrupted_one(run, capsys, words):
    run("fit", "--epochs=1", "--name=a", "--ema=0.95", *words)
    capsys.readouterr()
    run("fit", LAST, "--epochs=2", "--name=b", *words)
    assert "with ema" not in capsys.readouterr().out
    run("fit", "--epochs=2", "--name=whole", "--ema=0.95", *words)
    ends = [load(f"runs/{name}/checkpoints/last.ckpt") for name in ("b", "whole")]
    assert same(*(end["state_dict"] for end in ends))
    assert same(*(end["callbacks"]["EMA"].pop("raw") for end in ends))
    assert ends[0]["callbacks"]["EMA"] == ends[1]["callbacks"]["EMA"]


@pytest.mark.parametrize(("then", "now"), [("null", "0.9"), ("0.9", "null")])
def test_an_average_can_not_begin_or_end_within_a_run(trained, fails, then, now):
    trained("fit", "--epochs=1", f"--ema={then}", *FEW)
    before = [(path, path.read_bytes()) for path in Path("runs/a").rglob("*.[yc]*")]
    error = fails("fit", "--resume", "--name=a", "--epochs=2", f"--ema={now}", *FEW)
    assert f"trained with ema {then}, now ema is {now};" in error
    assert error.endswith(f"set --ema {then}")
    assert [(path, path.read_bytes()) for path in Path("runs/a").rglob("*.[yc]*")] == before


def test_the_decay_is_the_checkpoints_unless_given(trained, run, parse, capsys):
    trained("fit", "--epochs=1", "--ema=0.9", *FEW)
    assert parse("fit", LAST)["ema"] == parse("--config=runs/a/config.yaml")["ema"] == 0.9
    run("fit", LAST, "--epochs=2", "--ema=0.8", *FEW)
    assert "continuing with ema 0.9 -> 0.8\n" in capsys.readouterr().out
    cli = run("fit", LAST, "--epochs=2", "--callbacks+=EMA", "--callbacks.decay=0.7", *FEW)
    assert [c.decay for c in cli.trainer.callbacks if isinstance(c, EMA)] == [0.7]


def test_scores_and_predictions_of_another_process_are_those_of_the_fit(run, column):
    first = run("--epochs=2", "--name=a", "--ema=0.95", "--callbacks+=TestEveryEpoch")
    best = "--ckpt_path=runs/a/checkpoints/best.ckpt"
    again = run("validate", best)
    assert again.scores["val/loss"] == first.scores["val/loss"]
    tested = run("test", best, "--config=runs/a/config.yaml")
    assert tested.scores["test/loss"] == first.scores["test/loss"]
    for name in ("val/loss", "test/loss"):
        logged = float(column("runs/a/metrics.csv", name)[-1])
        assert logged == pytest.approx(first.scores[name], rel=1e-6)
    run("predict", best)
    written = [int(pred) for pred in column("runs/a/predictions.csv", "pred")]
    model = first.model.eval()
    model.load_state_dict(load("runs/a/checkpoints/best.ckpt")["state_dict"])
    with torch.no_grad():
        move = first.datamodule.on_after_batch_transfer
        moved = [move(batch, 0)[0] for batch in first.datamodule.test_dataloader()]
        outputs = [int(p) for x in moved for p in model(x).argmax(1)]
    assert written == outputs


def test_without_validation_the_average_of_the_last_step_is_tested(run):
    cli = run("--epochs=1", "--val_fraction=0", "--ema=0.9", "--name=a")
    again = run("test", LAST)
    assert again.scores["test/loss"] == cli.scores["test/loss"]


def test_a_decay_that_is_none_and_16_bit_weights_are_refused(fails):
    for decay in ("0", "1", "1.5", "nan", "much"):
        assert "--ema" in fails("--epochs=1", f"--ema={decay}")
    assert "set --precision bf16-mixed" in fails("--ema=0.9", "--precision=bf16-true")
