"""Promise 6: every command of the README runs, every file it names is there."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, main

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [line for block in COMMANDS for line in block.splitlines()]


def test_the_first_command_comes_early():
    assert README.splitlines().index("pip install -e . && python train.py") < 25


def test_all_commands_run_in_their_order():
    Path("configs").symlink_to(ROOT / "configs")
    trains = [line for line in LINES if line.startswith("python train.py")]
    assert len(trains) == 8
    for line in trains:
        main(shlex.split(line)[2:])


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
    assert len(README.splitlines()) < 100


def test_the_shown_output_is_what_a_run_prints(capsys):
    """But for its numbers, which differ from machine to machine."""
    main(["--enable_progress_bar=true"])
    printed = {words(line) for line in capsys.readouterr().out.splitlines()}
    shown = re.search(r"```text\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    assert {words(line) for line in shown[1].splitlines()} - {"…"} == printed


def words(line: str) -> str:
    return " ".join(re.sub(r"[\d.,/%-]+", " ", line).split())
