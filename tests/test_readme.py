"""Promises 1 and 6: the default run trains and tests; all that the README says and names is so."""

import html
import io
import re
import sys
from contextlib import chdir, redirect_stdout
from pathlib import Path

import pytest
from conftest import ROOT, main
from pages import commands_of, files_of, lines_of, write_own_data

sys.path.append(str(ROOT / "benchmarks"))
from terminal_picture import drawn, shortened

from lit_opt.engine.cli.verbs import VERBS

README = (ROOT / "README.md").read_text()


def test_the_first_command_comes_early():
    assert README.splitlines().index("pip install -e . && python train.py") < 25


def test_all_commands_run_in_their_order(monkeypatch):
    """For a few steps, whatever they say."""
    Path("configs").symlink_to(ROOT / "configs")
    write_own_data()
    files = files_of((ROOT / "docs/make_it_yours.md").read_text())
    Path("my_net.py").write_text(files["my_net.py"])
    monkeypatch.syspath_prepend(Path.cwd())
    commands = [words for words in commands_of(README) if words[0] not in ("new", "update")]
    assert len(commands) >= 9
    for words in commands:
        grouped = any("steps_per_execution" in word for word in words)
        few = ["--epochs=1", *["--limit_train_batches=4"] * (not grouped)]
        done = {"test", "predict", "--help", *VERBS} & {*words}
        main(words if done else [*words, *few])


def test_ci_installs_and_tests_by_the_readmes_own_commands():
    assert [line for line in lines_of(README) if line.startswith("pip")] == [
        "pip install -e . && python train.py",
        'pip install -e ".[dev]" && pytest',
    ]
    assert "grep -E '^pip install .* && ' README.md" in (ROOT / ".ci/run").read_text()


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


def test_the_picture_shows_what_the_default_run_prints(default):
    """But for its numbers, which differ between machines (benchmarks/terminal_picture.py)."""
    assert "(docs/terminal.svg)" in README
    shown = texts((ROOT / "docs/terminal.svg").read_text())
    assert shown == texts(drawn(["$ python train.py", *shortened(default[1].splitlines())]))
    assert shown[-3].startswith("Test Error: acc")


def texts(svg: str) -> list[str]:
    """The lines of a picture without their numbers."""
    lines = re.findall(r"<text class=\"lit-opt-r.*?>(.*?)</text>", svg)
    plain = [html.unescape(line).replace("\xa0", " ") for line in lines]
    return [" ".join(re.sub(r"[\d.,/%-]+", " ", line).split()) for line in plain if line.strip()]
