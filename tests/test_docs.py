"""The pages of docs/ say what is so: their code runs, what they and --help name is there."""

import ast
import csv
import re
import shlex
import sys
from pathlib import Path
from pkgutil import resolve_name
from unittest.mock import Mock

import pytest
import torch
from conftest import ROOT, main
from pages import commands_of, files_of, lines_of, write_own_data

from lit_opt.engine.base.errors import Stopped
from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.overview import OVERVIEW
from lit_opt.engine.cli.verbs import VERBS, verb_named
from train import program

PAGE = (ROOT / "docs/make_it_yours.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
SEAMS = [title for title, text in SECTIONS.items() if "```bash" in text]
FAST = {"My net", "My loss", "My data: a table", "My data: arrays", "My logger"}
FAST |= {"My data: text", "My LightningModule and LightningDataModule"}


def seams() -> list:
    return [pytest.param(t, marks=[] if t in FAST else [pytest.mark.slow]) for t in SEAMS]


@pytest.mark.parametrize("title", seams())
def test_each_seam_is_ten_lines_and_one_command_that_runs(title, monkeypatch, capsys):
    write_own_data()
    files, commands = files_of(SECTIONS[title]), commands_of(SECTIONS[title])
    assert len(commands) == len(lines_of(SECTIONS[title])) == 1
    for name, code in files.items():
        lines = [line for line in code.splitlines()[1:] if line.strip()]
        assert len(lines) <= 10, name
        Path(name).write_text(code)
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    monkeypatch.syspath_prepend(Path.cwd())
    ran = main([*commands[0], f"--epochs={1 + ('metric' in title)}", "--name=a"])
    named = {m[1] for word in commands[0] for m in re.finditer(r"\b(my_\w+)\.\w", word)}
    assert {f"{name}.py" for name in named} == files.keys()
    assert ran.trainer.global_step
    assert DONE[title](ran, capsys.readouterr().out)
    for words in re.findall(r"`python train\.py (predict [^`]*)`", SECTIONS[title]):
        main(shlex.split(words.replace("NAME", "a")))
        assert predicted() == (["The licensor"] if "text" in title else 2)


def predicted() -> list[str] | int:
    """The beginnings of the texts that were written, or the number of rows."""
    texts = Path("runs/a/predictions.txt")
    if texts.exists():
        return [text[:12] for text in re.findall(r"--- \d+\n(.{200,})", texts.read_text(), re.S)]
    return len(Path("runs/a/predictions.csv").read_text().splitlines()) - 1


def column(name: str) -> list[float]:
    with Path("runs/a/metrics.csv").open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


def shape_and_classes(ran) -> tuple:
    return ran.datamodule.in_shape, ran.datamodule.class_names


def noise_is_added(ran, out: str) -> bool:
    flip, noise = ran.datamodule.transforms
    x, _ = noise(torch.full((1, 8, 8), 100, dtype=torch.uint8))
    return type(flip).__name__ == "RandomHorizontalFlip" and len(x.unique()) > 10


# What each has done, by its section.
PICTURES = (3, 32, 32), ["bright", "dark"]
DONE = {
    "My net": lambda ran, out: ran.model.net[0].weight.shape == (32, 1, 3, 3),
    "My loss": lambda ran, out: ran.model.loss.loss.__name__ == "focal",
    "My metric": lambda ran, out: (
        ran.scores["val/TopTwo"] == pytest.approx(max(column("val/TopTwo")))
    ),
    "My data: pictures in folders": lambda ran, out: shape_and_classes(ran) == PICTURES,
    "My data: a table of paths and labels": lambda ran, out: shape_and_classes(ran) == PICTURES,
    "My data: a table": lambda ran, out: shape_and_classes(ran) == ((5,), None),
    "My data: arrays": lambda ran, out: ran.datamodule.in_shape == (4,),
    "My data: a set of torchvision": lambda ran, out: len(ran.datamodule.splits["val"]) == 20,
    "My data: text": lambda ran, out: ran.datamodule.class_names[65] == "A",
    "My transform": noise_is_added,
    "My step": lambda ran, out: type(ran.model).__name__ == "Consistent",
    "My optimizer groups": lambda ran, out: (
        [group["lr"] for group in ran.trainer.optimizers[0].param_groups]
        == pytest.approx([0.01, 0.1])
    ),
    "My callback": lambda ran, out: column("weights/max")[0] > 0,
    "My logger": lambda ran, out: "{'val/acc':" in out,
    "My LightningModule and LightningDataModule": lambda ran, out: (
        1 < ran.model.net.weight.item() + ran.model.net.bias.item() < 3.5
    ),
}


def test_the_order_is_from_the_smallest_change_to_the_largest():
    assert [title.removeprefix("My ").partition(":")[0] for title in SEAMS] == [
        *["net", "loss", "metric", *["data"] * 6, "transform", "step", "optimizer groups"],
        *["callback", "logger", "LightningModule and LightningDataModule"],
    ]


def test_what_is_read_before_the_first_own_net_is_short():
    """The README up to its results, this page up to its first net, which is a file of ten lines."""
    readme = (ROOT / "README.md").read_text().partition("## Results")[0]
    page = PAGE.partition("## My loss")[0]
    assert len(readme.splitlines()) + len(page.splitlines()) <= 100


COMING = (ROOT / "docs/coming_from.md").read_text()


@pytest.mark.slow
def test_the_commands_for_those_who_come_from_elsewhere_run():
    Path("configs").symlink_to(ROOT / "configs")
    write_own_data()
    assert len(commands_of(COMING)) == len(lines_of(COMING)) == 6
    for words in commands_of(COMING):
        few = ["--epochs=1", "--limit_train_batches=4"]
        main(words if words[0] == "test" else [*words, *few])


# ---- every file, class and option that is named is there

YAML = [*(ROOT / "configs").glob("*.yaml"), *(ROOT / "examples").glob("*/*.yaml")]
YOURS = [ROOT / "train.py", *(ROOT / "lit_opt").glob("*.py"), *(ROOT / "examples").glob("*/*.py")]
# Options of others: of timm's train.py, pip, benchmarks/ and of torch's programs.
OTHERS = set(re.findall(r"--[a-z][\w-]*", " ".join(re.findall(r"^\| `(--.*?)` \|", COMING, re.M))))
OURS_TOO = {"--mixup", "--cutmix", "--resume", "--model"}


def comments(path: Path) -> str:
    lines = path.read_text().splitlines()
    return "\n".join(line for line in lines if line.lstrip().startswith("#"))


def docstrings(path: Path) -> str:
    nodes = ast.walk(ast.parse(path.read_text()))
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    return "\n".join(ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds))


def told() -> dict[str, str]:
    """All text that a reader meets first, by where it is."""
    texts = {
        path.name: path.read_text() for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    }
    texts |= {str(path.relative_to(ROOT)): comments(path) for path in YAML}
    texts |= {str(path.relative_to(ROOT)): docstrings(path) for path in YOURS}
    return texts | {"--help": OVERVIEW}


TOLD = told()


@pytest.mark.parametrize("where", TOLD)
def test_every_file_that_is_named_is_there(where):
    folders = "lit_opt|docs|configs|examples|benchmarks|tests"
    named = re.findall(rf"(?<![\w./])((?:{folders})/[\w./-]*|train\.py\b)", TOLD[where])
    linked = re.findall(r"\]\((?!http)([^)]+)\)", TOLD[where])
    here = ROOT / "docs" if where.endswith(".md") and where != "README.md" else ROOT
    assert [n for n in named if not (ROOT / n.rstrip(".")).exists()] == []
    assert [n for n in linked if not (here / n).exists()] == []


@pytest.mark.parametrize("where", TOLD)
def test_every_class_that_is_named_by_its_path_is_there(where):
    for path in re.findall(r"\b(?:lit_opt|examples|torchvision)(?:\.\w+)+", TOLD[where]):
        assert resolve_name(path), path


@pytest.fixture(scope="module")
def options():
    return CommandLine(program, ["fit"]).options


@pytest.fixture(scope="module")
def options_of_verbs() -> set[str]:
    """Of the commands beside fit, validate, test and predict, as their own --help names them."""
    found = set()
    for verb in filter(None, map(verb_named, VERBS)):
        with pytest.raises(Stopped) as stopped:
            verb(["--help"])
        found |= {*re.findall(r"--[a-z][\w-]*", str(stopped.value))}
    return found


@pytest.mark.parametrize("where", TOLD)
def test_every_option_that_is_named_is_one(where, options, options_of_verbs):
    beside = {"--help", "--version", "--debug", "--allow", "--no_test", "--seeds"}
    beside |= {"coming_from.md": OTHERS - OURS_TOO, "--help": {"--option"}}.get(where, set())
    beside |= options_of_verbs
    text = re.sub(r"^pip .*", "", TOLD[where], flags=re.MULTILINE)
    for option in {m[1] for m in re.finditer(r"(?<![\w-])(--[a-zA-Z_][\w.-]*\w)", text)} - beside:
        options.full(option.lstrip("-"))


@pytest.mark.slow
@pytest.mark.parametrize("page", ["make_it_yours.md", "coming_from.md"])
def test_what_a_page_gives_an_option_is_a_value_of_it(page, monkeypatch):
    """It is parsed, and the data looked at."""

    class ParsedError(Exception):
        pass

    monkeypatch.setattr("lit_opt.engine.cli.run.Objects", Mock(side_effect=ParsedError))
    Path("configs").symlink_to(ROOT / "configs")
    write_own_data()
    given = re.findall(r"`(--[a-z][\w.+=]* [^`]*)`", TOLD[page])
    foreign = re.findall(r"^\| `(--.*?)` \|", COMING, re.MULTILINE)
    ours = [
        t
        for t in given
        if t not in foreign
        and not re.search(r"[A-Z]{3}|timm|my_|…|Small|dataset.(drop|skip|files)", t)
    ]
    assert len(ours) >= 3
    for text in ours:
        words = shlex.split(text)
        pictures = ["--data_dir", "pictures"] * ("ImageFolder" in words)
        with pytest.raises(ParsedError):
            main([*words, *pictures, "--debug"])
