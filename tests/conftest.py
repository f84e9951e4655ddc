"""Every test works in an empty folder of its own, on one thread, without the environment's runs."""

import csv
import gc
import io
import json
import re
import shutil
from collections.abc import Callable
from contextlib import chdir, redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from digits_program import program
from jsonargparse import Namespace

from lit_opt.engine.base import allowed_imports as imports
from lit_opt.engine.cli import options
from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.main import main as train_main
from lit_opt.engine.cli.run import Run

ROOT = Path(__file__).parent.parent
MADE: dict[tuple[str, ...], Path] = {}  # where the runs of `trained` are, by their words
options._constructor_takes = cache(options._constructor_takes)  # parses Lightning's sources
gc.freeze()  # the garbage collector passes over what has been imported


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Ids without an object's address, so that all of several processes collect the same tests."""
    return None if isinstance(val, str | bytes) else re.sub(r" at 0x\w+", "", repr(val))[:60]


def main(words: list[str], **changed: Any) -> Run | None:
    """What `train.py` does with `words`; `changed` are fields of its `Program`."""
    return train_main(replace(program, **changed), args=words)


def but_the_first_slow(rows: list[list[str]], count: int) -> list[Any]:
    """Rows of a parametrized test; but for the first ones they take too long for every day."""
    return [*rows[:count], *(pytest.param(row, marks=pytest.mark.slow) for row in rows[count:])]


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = request.getfixturevalue("tmp_path_factory").getbasetemp() / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setattr(imports, "_allowed", {*imports._allowed, request.module.__name__})
    for variable in ("LIT_OPT_RUN", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.delenv(variable, raising=False)
    torch.set_num_threads(1)


@pytest.fixture
def quiet_trainer() -> Callable[..., pl.Trainer]:
    """`quiet_trainer(max_epochs=2)`: a Trainer on the CPU that prints and writes nothing."""

    def quiet_trainer(**options: Any) -> pl.Trainer:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        quiet |= {"enable_model_summary": False, "accelerator": "cpu", "max_epochs": 1}
        return pl.Trainer(**quiet | options)

    return quiet_trainer


@pytest.fixture
def column() -> Callable[..., list[str]]:
    """`column("runs/a/metrics.csv", "lr")`: the values of a column, empty ones left out."""

    def column(path: str | Path, name: str) -> list[str]:
        with Path(path).open(newline="") as file:
            return [row[name] for row in csv.DictReader(file) if row[name]]

    return column


@pytest.fixture
def run() -> Callable[..., Run]:
    """`run("--lr=0.1", "--name=a")` is `python train.py --lr=0.1 --name=a` in this process."""

    def run(*words: str) -> Run:
        cli = main(list(words))
        assert cli is not None
        return cli

    return run


@pytest.fixture
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`trained("--epochs=1")`: the folder `runs/a` of such a run, trained once for all tests."""

    def trained(*words: str, name: str = "a") -> Path:
        words = (*words, f"--name={name}")
        if words not in MADE:
            folder = tmp_path_factory.mktemp("made")
            with chdir(folder), redirect_stdout(io.StringIO()):
                main([*words])
            MADE[words] = folder / "runs" / name
        return Path(shutil.copytree(MADE[words], Path("runs", name)))

    return trained


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """The configuration that a command line gives, without running it."""

    class ParsedError(Exception):
        pass

    def stop(line: CommandLine, config: Namespace, implied: Any) -> None:
        raise ParsedError(config.as_dict())

    def parse(*words: str) -> dict[str, Any]:
        with monkeypatch.context() as patch, pytest.raises(ParsedError) as caught:
            patch.setattr("lit_opt.engine.cli.run.Objects", stop)
            main([*words, "--debug"])
        config = json.loads(json.dumps(caught.value.args[0]))  # tuples as lists
        config.pop("config")
        return config

    return parse


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line that must exit with `code`; returns its at most four lines of error."""

    def fails(*words: str, code: int = 2) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(list(words))
        assert caught.value.code == code
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ")
        assert len(error.splitlines()) <= 4
        assert "Traceback" not in error
        return error

    return fails
