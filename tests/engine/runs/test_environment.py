"""What `environment.json` tells of each start."""

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

import lit_opt
from lit_opt.engine.runs.environment import LARGE, record_start

RUN = Path("runs/a")


@pytest.fixture
def trainer(quiet_trainer) -> Trainer:
    return quiet_trainer()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit of the program, a `train.py`."""
    home = tmp_path / "project"
    home.mkdir()
    (home / "train.py").write_text("lr = 1\n")
    (home / ".gitignore").write_text("runs\n")
    git(home, "init", "-q")
    git(home, "add", "-A")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    git(home, *who, "commit", "-q", "--no-gpg-sign", "-m", "first")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(home / "train.py"), raising=False)
    return home


def git(home: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(home), *words], capture_output=True, check=True)
    return done.stdout.decode().strip()


def starts(run: Path = RUN) -> list[dict[str, Any]]:
    return json.loads((run / "environment.json").read_text())


def test_a_run_tells_with_what_it_was_started(run):
    [start] = starts(run("--epochs=1", "--no_test", "--seed=7", "--name=a").folder)
    age = datetime.now(UTC) - datetime.fromisoformat(start["date"])
    assert 0 <= age.total_seconds() < 60
    assert start["command"] == sys.argv
    assert start["seed"] == 7
    assert start["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"python", "lightning", "torchmetrics", "numpy"} <= start["versions"].keys()
    assert start["versions"]["lit_opt"] == lit_opt.__version__
    assert start["devices"]["number"] == 1
    assert start["devices"]["threads"] == torch.get_num_threads()
    assert start["devices"]["name"]


@pytest.mark.parametrize("content", ["[{", "1"])
def test_a_damaged_file_is_kept_under_another_name(trainer, content):
    RUN.mkdir(parents=True)
    (RUN / "environment.json").write_text(content)
    record_start(RUN, trainer, 1)
    assert len(starts()) == 1
    assert (RUN / "environment-damaged.json").read_text() == content


def test_a_clean_commit(trainer, repository):
    (repository / "notes.txt").write_text("s3cret")
    record_start(RUN, trainer, 1)
    commit = git(repository, "rev-parse", "HEAD")
    assert starts()[0]["git"] == {"commit": commit, "dirty": False, "diff": None}
    assert [path.name for path in RUN.iterdir()] == ["environment.json"]


def test_the_changes_of_every_start_can_be_applied_again(trainer, repository):
    for text in ("lr = 2\n", "lr = 3\n"):
        (repository / "train.py").write_text(text)
        git(repository, "add", "train.py")  # staged or not
        record_start(RUN, trainer, 1)
    assert [start["git"]["dirty"] for start in starts()] == [True, True]
    git(repository, "reset", "-q", "--hard")
    git(repository, "apply", str((RUN / starts()[0]["git"]["diff"]).absolute()))
    assert (repository / "train.py").read_text() == "lr = 2\n"


def test_of_a_large_file_only_the_change_is_told(trainer, repository):
    (repository / "train.py").write_text("#\n" * LARGE)
    record_start(RUN, trainer, 1)
    diff = (RUN / starts()[0]["git"]["diff"]).read_text()
    assert "Binary files a/train.py and b/train.py differ" in diff


def test_outside_of_a_repository_and_without_git_it_is_null(trainer, repository, monkeypatch):
    (repository / ".git").rename(repository / "gone")
    record_start(RUN, trainer, 1)
    (repository / "gone").rename(repository / ".git")
    monkeypatch.setenv("PATH", "")
    record_start(RUN, trainer, 1)
    assert [start["git"] for start in starts()] == [None, None]


@pytest.mark.parametrize(("forks", "name"), [(False, "cuda:0"), (True, platform.machine())])
def test_a_device_is_not_asked_for_its_name_before_processes_are_forked(monkeypatch, forks, name):
    monkeypatch.setattr(torch.cuda, "get_device_name", str)
    launcher = SimpleNamespace(is_interactive_compatible=forks)
    strategy = SimpleNamespace(root_device=torch.device("cuda:0"), launcher=launcher)
    record_start(RUN, SimpleNamespace(strategy=strategy, num_devices=2, num_nodes=1), 1)
    assert starts()[0]["devices"]["name"] == name
