"""Any LightningModule has the command line, the run folder and the resume, with any data."""

import json
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from digits_program import program
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lit_opt.engine.base import allowed_imports as imports
from lit_opt.engine.cli.main import main
from lit_opt.engine.cli.program import Program

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*treespec", "ignore:.*no `val_dataloader`"
)
mse = nn.functional.mse_loss


class Plain(pl.LightningModule):
    """As Lightning's documentation has it; it saves no hyperparameters."""

    def __init__(self, width: int = 4, lr: float = 0.1) -> None:
        super().__init__()
        self.lr = lr
        self.layers = nn.Sequential(nn.Linear(3, width), nn.Dropout(0.2), nn.Linear(width, 1))

    def training_step(self, batch, batch_idx):
        loss = mse(self.layers(batch["x"]), batch["y"])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("valid_loss", mse(self.layers(batch["x"]), batch["y"]))
        self.log("valid_r2", 1.0)

    def test_step(self, batch, batch_idx):
        self.log("test_loss", mse(self.layers(batch["x"]), batch["y"]))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), self.lr, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


class Table(pl.LightningDataModule):
    """Batches are dicts."""

    def __init__(self, batch_size: int = 4, workers: int = 0) -> None:
        super().__init__()
        self.batch_size, self.workers = batch_size, workers
        x = torch.randn(18, 3, generator=torch.Generator().manual_seed(0))
        self.rows = [{"x": row, "y": row.sum(0, keepdim=True)} for row in x]

    def train_dataloader(self):
        return DataLoader(self.rows, self.batch_size, shuffle=True, num_workers=self.workers)

    def val_dataloader(self):
        return DataLoader(self.rows, 9)

    test_dataloader = val_dataloader


class TwoOptimizers(pl.LightningModule):
    """A GAN in manual optimization, with loaders of its own and neither validation nor test."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.lr, self.automatic_optimization = lr, False
        self.generator, self.critic = nn.Linear(2, 3), nn.Linear(3, 1)

    def train_dataloader(self):
        x = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(x), 4, shuffle=True)

    def training_step(self, batch):
        for_generator, for_critic = self.optimizers()
        fake = self.generator(torch.randn(len(batch[0]), 2))
        loss = self.critic(fake.detach()).mean() - self.critic(batch[0]).mean()
        for_critic.zero_grad()
        self.manual_backward(loss + sum(p.square().sum() for p in self.critic.parameters()))
        for_critic.step()
        for_generator.zero_grad()
        self.manual_backward(-self.critic(fake).mean())
        for_generator.step()
        self.log("critic_loss", loss)

    def configure_optimizers(self):
        parts = self.generator, self.critic
        return [torch.optim.Adam(part.parameters(), self.lr) for part in parts]


class Numbers(IterableDataset):
    """It never ends, and can't say where it is."""

    def __iter__(self):
        while True:
            yield {"x": torch.ones(3), "y": torch.ones(1)}


class Endless(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(Numbers(), 2)


def weights(run: str) -> dict[str, torch.Tensor]:
    return torch.load(f"runs/{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]


def same(run: str, other: str) -> bool:
    pairs = zip(weights(run).items(), weights(other).items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_a_plain_module_has_all_that_a_run_has(capsys):
    ran = main(Plain, Table, ["--name", "a", "--epochs", "3", "--width", "5", "--model.lr", "0.01"])
    run = Path("runs/a")
    scores = json.loads((run / "metrics.json").read_text())
    best = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert best["callbacks"]["BestCheckpoint"]["monitor"] == "valid_loss"
    assert scores["valid_loss"] == best["callbacks"]["BestCheckpoint"]["best_model_score"]
    assert scores.keys() == {"valid_loss", "valid_r2", "test_loss"}
    assert weights("a")["layers.0.weight"].shape == (5, 3)
    assert ran.model.lr == 0.01
    assert "best.ckpt is the one with the minimum of valid_loss" in capsys.readouterr().out
    main(Plain, Table, ["test", "--ckpt_path", "runs/a/checkpoints/best.ckpt"])
    assert f"test_loss {scores['test_loss']:.4f}" in capsys.readouterr().out
    main(Plain, Table, ["--name", "a", "--resume"])
    assert "runs/a is finished" in capsys.readouterr().out


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", [Plain, TwoOptimizers])
def test_a_killed_run_ends_as_the_uninterrupted_one(monkeypatch, model, workers):
    data = Table if model is Plain else None
    words = ["--epochs", "3", "--save_every", "4", "--no_test"]
    words += ["--log_every_n_steps", "2"]
    words += ["--workers", str(workers)] if data else []
    main(model, data, ["--name", "whole", *words])
    kill = {"class_path": "recorder.Kill", "init_args": {"dies_at": 11}}
    with pytest.raises(SystemExit):
        main(model, data, ["--name", "cut", *words, "--callbacks", json.dumps([kill])])
    cut = torch.load("runs/cut/checkpoints/last.ckpt", weights_only=True)
    assert 0 < cut["global_step"] < 11
    main(model, data, ["--name", "cut", "--resume", *words, "--callbacks", "[]"])
    assert same("whole", "cut")
    text = [Path(f"runs/{run}/metrics.csv").read_text() for run in ("whole", "cut")]
    assert text[0] == text[1]


def test_other_classes_by_flag_config_and_run(capsys, monkeypatch):
    paths = f"--model {__name__}.Plain --data {__name__}.Table"
    theirs = pytest.importorskip("train").program
    main(theirs, args=f"--name a --epochs 1 --batch_size 6 {paths}".split())
    Path("c.yaml").write_text(
        f"model: {__name__}.Plain\ndata:\n  class_path: {__name__}.Table\n"
        "  init_args:\n    batch_size: 6\nepochs: 1\n"
    )
    main(theirs, args=["--name", "b", "--config", "c.yaml"])
    main(theirs, args=["--name", "c", "--config", "runs/a/config.yaml"])
    assert same("a", "b")
    assert same("a", "c")
    with monkeypatch.context() as fresh:  # what the run was allowed is in its folder
        fresh.setattr(imports, "_allowed", {*imports.PACKAGES})
        main(theirs, args=["--name", "a", "--resume", "--epochs", "2"])
        fresh.setattr(imports, "_allowed", {*imports.PACKAGES})
        with pytest.raises(SystemExit):
            main(theirs, args=["--name", "d", "--config", "runs/a/config.yaml"])
    capsys.readouterr()
    for words, told in (
        (f"{paths} --net MLP", "unknown option --net"),
        (f"--model {__name__}.Plainn", f"{__name__} has no Plainn"),
        ("--model torch.utils.collect_env.run", "is no subclass of LightningModule"),
        (f"--data {__name__}.Plain", "is no subclass of LightningDataModule"),
        (f"--model {__name__}.nothing.Net", f"No module named '{__name__}.nothing'"),
    ):
        with pytest.raises(SystemExit) as left:
            main(theirs, args=words.split())
        assert left.value.code == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "score"), [("", "min"), ("--monitor_mode max", "max")])
def test_the_best_checkpoint_is_that_of_the_monitored_metric(capsys, flags, score):
    main(Plain, Table, f"--name a --epochs 2 --monitor valid_loss {flags}".split())
    told = "best.ckpt is the one with the minimum of valid_loss" in capsys.readouterr().out
    assert told == (flags == "")
    with Path("runs/a/metrics.csv").open() as file:
        names, *rows = [line.strip().split(",") for line in file]
    losses = [
        float(row[names.index("valid_loss")]) for row in rows if row[names.index("valid_loss")]
    ]
    best = torch.load("runs/a/checkpoints/best.ckpt", weights_only=True)
    found = best["callbacks"]["BestCheckpoint"]["best_model_score"]
    assert float(found) == pytest.approx({"min": min, "max": max}[score](losses))


def test_a_stream_without_a_position_goes_on_counting_and_says_so(capsys):
    words = ["--max_steps", "12", "--epochs", "-1", "--save_every", "5", "--name", "a"]
    kill = {"class_path": "recorder.Kill", "init_args": {"dies_at": 8}}
    with pytest.raises(SystemExit):
        main(Plain, Endless, [*words, "--callbacks", json.dumps([kill])])
    ran = main(Plain, Endless, [*words, "--resume", "--callbacks", "[]"])
    assert ran.trainer.global_step == 12
    assert "it begins anew at step 5" in capsys.readouterr().err


class Broken(Plain):
    def training_step(self, batch, batch_idx):
        return batch["z"]


def test_an_error_in_code_of_ones_own_names_its_place(capsys):
    with pytest.raises(SystemExit) as left:
        main(Broken, Table, ["--epochs", "1"])
    assert left.value.code == 1
    line = Broken.training_step.__code__.co_firstlineno + 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "error: KeyError: 'z'"
    assert told[1] == f"in {__file__}, line {line}, training_step"
    assert len(told) == 3


def test_an_error_in_a_module_of_ones_own_is_not_told_as_a_name_that_it_lacks(tmp_path, capsys):
    name = f"own_{tmp_path.name}"
    Path(f"{name}.py").write_text("import torch\ntorch.nope\nclass Net: pass\n")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.syspath_prepend(tmp_path)
        main(program, args=["--model", f"{name}.Net"])
    told = capsys.readouterr().err
    assert "module 'torch' has no attribute 'nope'" in told
    assert f"{name}.py, line 2, <module>" in told


def test_save_every_takes_steps_or_a_time(capsys):
    with pytest.raises(SystemExit):
        main(Plain, Table, ["--save_every", "soon"])
    assert "expected steps such as 1000, or 90s, 10m, 1h" in capsys.readouterr().err


# ---- a net whose sizes have no defaults


class Sized(nn.Sequential):
    def __init__(
        self, in_channels: int, in_shape: tuple[int, int, int], num_classes: int, width: int = 4
    ) -> None:
        assert in_channels == in_shape[0]
        sizes = nn.Linear(torch.Size(in_shape).numel(), width), nn.Linear(width, num_classes)
        super().__init__(nn.Flatten(), *sizes)


@pytest.mark.parametrize("by", ["flag", "config", "default", "over a config"])
def test_a_net_may_require_the_sizes_that_the_data_tells(by):
    path, few = f"{__name__}.Sized", ["--fast_dev_run", "true", "--no_test"]
    Path("net.yaml").write_text(f"net: {{class_path: {path}, init_args: {{width: 8}}}}")
    Path("other.yaml").write_text("net: ConvNet")
    words = {"flag": ["--net", path, "--net.width", "8"], "config": ["--config", "net.yaml"]}
    words["over a config"] = ["--config", "other.yaml", *words["flag"]]
    words["default"] = ["--net.width", "8"]
    defaults = {"net": path} if by == "default" else {"net": "MLP"}
    ran = main(replace(program, defaults={**program.defaults, **defaults}), args=words[by] + few)
    assert [tuple(layer.weight.shape) for layer in [*ran.model.net][1:]] == [(8, 64), (10, 8)]


def test_a_size_that_nobody_tells_is_asked_for(capsys):
    words = ["--net", f"{__name__}.Sized", "--data", f"{__name__}.Table", "--no_test"]
    with pytest.raises(SystemExit):
        main(program, args=words)
    assert "the net needs in_channels, which the data doesn't tell; set --net.in_channels" in (
        capsys.readouterr().err
    )


class NeedsSizes(nn.Module):
    """Its sizes have no defaults.

    Args:
        in_channels: Of the pictures.
        num_classes: Of the outputs.
        width: Of the layer between.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 4):
        super().__init__()
        self.first, self.last = nn.Conv2d(in_channels, width, 3), nn.Linear(width, num_classes)

    def forward(self, x):
        return self.last(self.first(x).amax((2, 3)))


def test_sizes_without_defaults_are_the_datas(run, fails):
    given = f"--net={__name__}.NeedsSizes"
    net = run(given, "--epochs=1", "--no_test", "--name=a").model.net
    assert (net.first.in_channels, net.last.out_features) == (1, 10)
    again = run("--config=runs/a/config.yaml", "--net.width=2", "--epochs=1", "--no_test")
    assert again.model.net.first.weight.shape == (2, 1, 3, 3)
    assert "--net.in_channels" in fails(given, "--net.in_channels=3")


@pytest.mark.parametrize(
    ("model", "data", "steps"), [(Plain, Table, 1), (TwoOptimizers, None, 2)], ids=["one", "two"]
)
def test_a_step_of_several_optimizers_is_one_to_save_every(monkeypatch, model, data, steps):
    saved = []
    save = pl.Trainer.save_checkpoint
    monkeypatch.setattr(
        pl.Trainer,
        "save_checkpoint",
        lambda trainer, *a, **k: (saved.append(trainer.global_step), save(trainer, *a, **k)),
    )
    main(model, data, ["--save_every=2", "--epochs=1", "--no_test"])
    assert saved[0] == 2 * steps


def test_options_without_a_group_may_be_a_program_s_defaults(capsys):
    defaults = {"save_every": 2, "monitor": "val_loss", "monitor_mode": "min", "max_epochs": 1}
    with pytest.raises(SystemExit):
        main(Program(Plain, Table, defaults), args=["--no_test", "--print_config"])
    printed = capsys.readouterr().out
    assert "save_every: 2" in printed
    assert "monitor: val_loss" in printed
