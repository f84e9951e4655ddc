"""A run's record of what it may import counts if this user's key sealed it; the key is RFC 2104's.

A module that leaves a file when it is imported stands for the code that a stranger's run names.
"""

import hmac
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jsonargparse import set_parsing_settings

from lit_opt.engine.base import allowed_imports as imports
from lit_opt.engine.runs.allowance import allowed_before, sealed_allowance

SHORT = ["--limit_train_batches=2", "--no_test"]
BEST = "--ckpt_path=runs/a/checkpoints/best.ckpt"
COMMANDS = [["--name=a", "--resume", "--epochs=2", *SHORT], ["test", BEST], ["validate", BEST]]
COMMANDS += [["predict", BEST], ["--name=b", BEST, "--epochs=1", *SHORT]]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/lit-opt/key"


@pytest.fixture
def forget(monkeypatch, tmp_path):
    """What a new process knows: neither what was allowed nor what was imported."""

    def forget(name: str) -> None:
        monkeypatch.setattr(imports, "_allowed", {*imports.PACKAGES, "__main__"})
        set_parsing_settings(import_path_denylist=[name])
        sys.modules.pop(name, None)
        Path("imported").unlink(missing_ok=True)

    monkeypatch.syspath_prepend(tmp_path)
    return forget


@pytest.fixture
def foreign(run, forget, state) -> str:
    """The module that a flag named in the run `a`; its name is new, as imports are kept."""
    name = f"foreign_{uuid4().hex}"
    Path(f"{name}.py").write_text(
        "from pathlib import Path; import torch; Path('imported').touch()\n"
        "def loss(outputs, labels): return torch.nn.functional.cross_entropy(outputs, labels)\n"
    )
    run(f"--loss={name}.loss", "--epochs=1", "--name=a", *SHORT)
    forget(name)
    return name


def test_a_run_of_ones_own_needs_no_allowance_again(run, foreign, forget, state):
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    [start] = json.loads(Path("runs/a/environment.json").read_bytes())
    names = json.dumps(start["allowed"]).encode()
    assert start["seal"] == hmac.new(state.read_bytes(), names, "sha256").hexdigest()
    for words in COMMANDS:
        run(*words)
        assert Path("imported").exists()
        forget(foreign)


def edited(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(state: Path) -> None:
        path = Path("runs/a/environment.json")
        [start] = json.loads(path.read_bytes())
        path.write_text(json.dumps(change(start)))

    return edit


def another(length: int):
    return lambda state: (state.unlink(), state.write_bytes(os.urandom(length)))


REFUSED = {
    "a longer list": edited(lambda start: [{**start, "allowed": [*start["allowed"], "pip"]}]),
    "a list in one word": edited(lambda start: [{**start, "allowed": str(start["allowed"])}]),
    "no seal": edited(lambda start: [{key: v for key, v in start.items() if key != "seal"}]),
    "no text": edited(lambda start: [{**start, "seal": None}, {**start, "seal": "é"}, 1]),
    "no list": edited(lambda start: start),
    "another key": another(32),
    "half a key": another(16),
    "an empty key": another(0),
    "no key": Path.unlink,
    "a folder": lambda state: (state.unlink(), state.mkdir()),
}


def test_what_this_user_s_key_did_not_seal_allows_nothing(fails, foreign, state):
    shutil.copytree("runs/a", "own")
    key = state.read_bytes()
    for number, (kind, spoil) in enumerate(REFUSED.items()):
        spoil(state)
        assert f"--allow {foreign}" in fails(*COMMANDS[number % 2]), kind
        assert not Path("imported").exists(), kind
        shutil.rmtree("runs/a")
        shutil.copytree("own", "runs/a")
        shutil.rmtree(state.parent)
        state.parent.mkdir()
        state.write_bytes(key)


def test_an_allowance_given_anew_is_sealed_with_a_new_key(run, foreign, forget, state):
    state.write_bytes(b"damaged")
    run(f"--allow={foreign}", *COMMANDS[0])
    assert len(state.read_bytes()) == 32
    forget(foreign)
    run("--name=a", "--resume", "--epochs=3", *SHORT)
    assert Path("imported").exists()


@pytest.mark.parametrize("place", ["/proc/none", "file/in/the/way", "relative", "~nobody-here"])
def test_where_no_key_can_be_kept_nothing_is_sealed(monkeypatch, place):
    Path("file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(Path(place).absolute()) if "/" in place else place)
    monkeypatch.setenv("HOME", "/proc/none")
    assert imports.allowed_here()
    assert sealed_allowance() == {"allowed": imports.allowed_here(), "seal": None}
    assert allowed_before(Path()) == []


def test_a_run_that_allows_nothing_makes_no_key(monkeypatch, state):
    monkeypatch.setattr(imports, "_allowed", {*imports.PACKAGES, "__main__"})
    assert sealed_allowance() == {"allowed": [], "seal": None}
    assert not state.parent.exists()
