"""The programs behind the stated figures run."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT


def program(name: str, *words: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


@pytest.mark.slow
def test_speed_on_made_up_data():
    few = ["--samples=2048", "--rounds=1", "--batch_sizes", "1024"]
    lines = program("speed.py", *few).strip().splitlines()
    assert re.match(r"MLP, batch 1024, 1 thread\(s\), \w+; bare loop ", lines[0])
    assert [line.split("  ")[1].strip() for line in lines[1:]] == [
        "bare loop",
        "tutorial",
        "Lightning documented",
        "lit-opt",
        "lit-opt, 32 steps in one",
        "lit-opt, bf16-mixed",
        "tutorial, scored",
        "lit-opt, scored",
        *(f"tutorial / lit-opt{what}" for what in ("", ", 32 steps in one", ", bf16-mixed")),
        "tutorial / lit-opt, scored",
    ]


@pytest.mark.slow
def test_scores_over_seeds():
    printed = program("seeds.py", str(ROOT / "configs/digits.yaml"), "--seeds=2", "--epochs=1")
    assert {line.split()[0] for line in printed.splitlines()} == {
        *("val/acc", "val/loss", "test/acc", "test/loss", "seconds", "training")
    }
    assert "n = 2" in printed
    assert float(printed.split("training")[1].split()[0]) > 0


@pytest.mark.slow
def test_image_folder():
    assert "second epoch on" in program("image_folder.py", "--images=40", "--rounds=1")


@pytest.mark.slow
def test_checkpoints():
    lines = program("checkpoints.py", "--megabytes=2", "--rounds=1").splitlines()
    assert [tuple(line.split()[:2]) for line in lines[1:]] == [
        *(("torch.save", "saved"), ("torch.save", "loaded")),
        *(("Lightning", "saved"), ("Lightning", "loaded")),
        *(("lit-opt", "saved"), ("lit-opt", "loaded"), ("lit-opt", "verified")),
    ]


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT.parent / "shared/data").is_dir(), reason="needs Fashion-MNIST")
def test_the_tutorials_loop():
    data = str(ROOT.parent / "shared/data")
    printed = program("tutorial_loop.py", "--seeds=1", f"--data_dir={data}")
    assert float(printed.split()[1]) > 0.7
