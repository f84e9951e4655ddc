"""What `train.py` prints and exits with."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from lit_opt.cli import OVERVIEW, main

TRAIN = ROOT / "train.py"


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TRAIN), *words], capture_output=True, text=True, timeout=120
    )


def test_the_default_run_prints_progress_scores_and_where_to_look_and_nothing_else():
    done = command("--epochs", "2")
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "MLP,",
        "epoch",
        "epoch",
        "Validation",
        "Test",
        "run",
    ]
    assert lines[-2].startswith("Test Error: acc ")
    assert "avg loss" in lines[-2]
    assert Path(lines[-1].removeprefix("run folder: "), "metrics.csv").is_file()


def test_version():
    assert command("--version").stdout.startswith("lit-opt 0.1.0, lightning 2.")


def test_every_option_of_the_overview_exists(parse):
    config = parse(
        *("--name=a", "--no_test", "--seed=1", "--epochs=1", "--accelerator=cpu", "--devices=1"),
        *("--precision=32-true", "--net=MLP", "--loss=mse", "--optimizer=SGD", "--lr=0.1"),
        *("--scheduler=StepLR", "--scheduler.step_size=1", "--warmup=0.1", "--dataset=Digits"),
        *("--data_dir=data", "--batch_size=8", "--callbacks+=HalveWhenStuck"),
    )
    named = {
        line.split()[0].partition("=")[0].rstrip("+")
        for line in OVERVIEW.splitlines()
        if line.startswith("  --")
    }
    assert len(named) == 22
    defaults = parse()
    shown = {
        "--epochs": defaults["trainer"]["max_epochs"],
        "--seed": defaults["seed_everything"],
        "--lr": defaults["model"]["lr"],
        "--batch_size": defaults["data"]["batch_size"],
        "--data_dir": defaults["data"]["data_dir"],
        "--optimizer": defaults["model"]["optimizer"]["name"],
        "--warmup": f"{defaults['model']['warmup']:g}",
    }
    for option, value in shown.items():
        [line] = [line for line in OVERVIEW.splitlines() if line.startswith(f"  {option} ")]
        assert f" {value}" in line
    assert config["model"]["scheduler"] == {"name": "StepLR", "step_size": 1}


def test_the_help_of_a_command_shows_short_names(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["fit", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for name in ("--accelerator, --trainer.accelerator", "--lr, --model.lr", "--flip, --data.flip"):
        assert name in shown
    assert "Learning rate, whatever the optimizer" in shown


def test_print_config_prints_a_config_that_runs(capsys, parse):
    with pytest.raises(SystemExit) as caught:
        main(["--lr=0.5", "--print_config"])
    assert caught.value.code == 0
    Path("printed.yaml").write_text(capsys.readouterr().out)
    assert parse("--config=printed.yaml")["model"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--optimzer", "Adam"], "--optimizer"),
        (["--optimizer", "Adamm"], "Adam"),
        (["--optimizer.momentun", "0.9", "--optimizer", "SGD"], "momentum"),
        (["--optimizer.lr", "0.9"], "--lr"),
        (["--scheduler", "StepLR"], "--scheduler.step_size"),
        (["--scheduler", "Cosine"], "CosineAnnealingLR"),
        (["--lr", "fast"], "float"),
        (["--batch_size", "0"], "--batch_size"),
        (["--batch_size", "1.5"], "int"),
        (["--precision", "17"], "bf16-mixed"),
        (["--net", "ConvNett"], "ConvNet"),
        (["--net.hiddenn", "3"], "hidden"),
        (["--net.num_classes", "12"], "--net.num_classes 10"),
        (["--net", "torchvision.models.resnet18"], "(1, 8, 8)"),
        (["--loss", "nl"], "NLLLoss"),
        (["--loss", "TripletMarginLoss"], "--loss"),
        (["--dataset", "FashionMNST"], "FashionMNIST"),
        (["--dataset", "ImageFolder"], "--data_dir"),
        (["--callbacks+=EarlyStoping"], "EarlyStopping"),
        (["--monitor", "val/accc"], "val/acc"),
        (["--monitor", "test/acc"], "val/acc"),
        (["--warmup", "2"], "--warmup"),
        (["--config", "nope.yaml"], "nope.yaml"),
        (["--config", "broken.yaml"], "broken.yaml"),
        (["--config", "unknown.yaml"], "max_epochs"),
        (["--config", "list.yaml"], "list.yaml"),
        (["teste"], "test"),
        (["test"], "--ckpt_path"),
        (["test", "--ckpt_path", "nope.ckpt"], "nope.ckpt"),
        (["test", "--ckpt_path", "broken.yaml"], "broken.yaml"),
        (["stray", "word"], "stray"),
        (["--lr", "0.1", "stray"], "stray"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_told_in_four_lines_and_exit_with_2(fails, words, named):
    Path("broken.yaml").write_text("lr: [0.1\n")
    Path("unknown.yaml").write_text("trainer: {max_epoch: 3}\n")
    Path("list.yaml").write_text("- 1\n")
    assert named in fails(*words)
    assert not Path("runs").exists() or "--monitor" in words


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_gpu_that_is_not_there_is_a_usage_error(fails):
    assert "gpu" in fails("--accelerator", "gpu")


def test_a_failed_run_exits_with_1_and_names_the_exception(fails, monkeypatch):
    def broken(self, x):
        raise ValueError("out of luck")

    monkeypatch.setattr("lit_opt.module.LitModule.forward", broken)
    assert fails(code=1).splitlines() == [
        "error: ValueError: out of luck",
        "--debug shows the traceback",
    ]
    with pytest.raises(ValueError, match="out of luck"):
        main(["--debug"])
