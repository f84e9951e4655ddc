"""`--precision auto` becomes what the processor or GPU is fast in; a run keeps what it became."""

from pathlib import Path

import pytest
import torch
import yaml

from lit_opt.engine.cli import precision
from lit_opt.engine.cli.precision import cpu_has_bf16, emulated, fast_precision

SHORT = ["--name=a", "--limit_train_batches=2", "--net.hidden=[8]", "--no_test"]


@pytest.mark.parametrize(
    ("accelerator", "gpu", "apple", "cpu", "becomes"),
    [
        ("auto", (8, 0), False, {}, "bf16-mixed"),
        ("gpu", (7, 5), False, {"avx512_bf16": True}, "32-true"),
        ("cpu", (9, 0), False, {}, "32-true"),
        ("cpu", None, True, {"bf16": True}, "bf16-mixed"),
        ("auto", None, True, {"bf16": True}, "32-true"),
        ("mps", None, True, {"bf16": True}, "32-true"),
        ("auto", None, False, {"amx_bf16": True}, "bf16-mixed"),
        ("auto", None, False, {"amx_bf16": False, "avx512_bf16": False}, "32-true"),
    ],
)
def test_it_is_bf16_where_there_are_instructions_for_it(
    monkeypatch, accelerator, gpu, apple, cpu, becomes
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu, raising=False)
    assert fast_precision(accelerator) == becomes


def test_it_agrees_with_what_linux_says_of_the_processor():
    told = Path("/proc/cpuinfo")
    flags = told.read_text().split() if told.exists() else []
    if not flags:
        pytest.skip("this system has no /proc/cpuinfo")
    assert cpu_has_bf16() == bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


def test_a_torch_that_can_not_tell_is_taken_for_slow(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not cpu_has_bf16()


def test_a_run_keeps_what_it_became(run, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    assert run("--precision=auto", "--epochs=1", *SHORT).trainer.precision == "bf16-mixed"
    assert yaml.safe_load(Path("runs/a/config.yaml").read_text())["trainer"]["precision"] == (
        "bf16-mixed"
    )
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    resumed = run("--precision=auto", "--epochs=2", "--resume", *SHORT)
    assert resumed.trainer.precision == "bf16-mixed"


@pytest.mark.parametrize("name", ["bf16-mixed", "bf16-true", "16-true", "32-true", "64-true"])
def test_what_is_emulated_says_in_one_line_what_it_costs(monkeypatch, name):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    line = emulated(name, torch.device("cpu"))
    assert (line is not None) == ("16" in name)
    assert line is None or ("--precision 32-true" in line and "\n" not in line)
    assert emulated(name, torch.device("cuda")) is None
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    assert emulated(name, torch.device("cpu")) is None
