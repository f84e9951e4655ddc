"""Promises 1 and 6: the default run trains and tests; all that the README says and names is so."""

import io
import re
import shlex
from contextlib import chdir, redirect_stdout
from pathlib import Path

import pytest
from conftest import ROOT, main

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [line for block in COMMANDS for line in block.splitlines()]


def test_the_first_command_comes_early():
    assert README.splitlines().index("pip install -e . && python train.py") < 25


def test_all_commands_run_in_their_order():
    """For one epoch, whatever they say."""
    Path("configs").symlink_to(ROOT / "configs")
    trains = [line for line in LINES if line.startswith("python train.py")]
    assert len(trains) == 9
    for line in trains:
        words = shlex.split(line)[2:]
        main(words if {"test", "predict", "--help"} & {*words} else [*words, "--epochs=1"])


def test_ci_installs_and_tests_by_the_readmes_own_commands():
    assert [line for line in LINES if line.startswith("pip")] == [
        "pip install -e . && python train.py",
        'pip install -e ".[dev]" && pytest',
    ]
    assert "grep -E '^pip install .* && ' README.md" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/decisions.md"])
def test_every_file_that_a_page_names_exists(page):
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:lit_opt|configs|docs|tests|benchmarks)/[\w./-]+)`", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 100


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, float], str]:
    """The scores of `python train.py`, and what it prints."""
    with chdir(tmp_path_factory.mktemp("default")), redirect_stdout(io.StringIO()) as printed:
        done = main([])
    assert done is not None
    return done.scores, printed.getvalue()


def test_the_default_run_learns_but_not_perfectly(default):
    scores, _ = default
    assert set(scores) == {"val/loss", "val/acc", "test/loss", "test/acc"}
    assert 0.96 < scores["test/acc"] < 1
    assert 0.93 < scores["val/acc"] < 1
    assert 0 < scores["test/loss"] < 0.2


def test_the_shown_output_is_what_the_default_run_prints(default):
    """But for its numbers, which differ from machine to machine."""
    shown = re.search(r"```text\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    printed = {words(line) for line in default[1].splitlines()}
    assert {words(line) for line in shown[1].splitlines()} - {"…"} == printed


def words(line: str) -> str:
    return " ".join(re.sub(r"[\d.,/%-]+", " ", line).split())
