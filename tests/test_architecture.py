"""The floors of the house: imports go downwards only."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "lit_opt"
FILES = sorted(PACKAGE.rglob("*.py"))

# What a file or folder may not import, by the start of the import's name.
FORBIDDEN = {
    "models.py": ["lightning", "lit_opt"],
    "losses.py": ["lightning", "lit_opt"],
    "optim.py": ["lightning", "lit_opt.module", "lit_opt.data"],
    "targets.py": ["lightning", "lit_opt.module", "lit_opt.data"],
    "module.py": ["lit_opt.data", "lit_opt.callbacks", "lit_opt.runs", "lit_opt.models"],
    "data": ["lit_opt.module", "lit_opt.models", "lit_opt.callbacks", "lit_opt.runs"],
    "callbacks": ["lit_opt.data", "lit_opt.runs", "lit_opt.models"],
    "runs": ["lit_opt.data", "lit_opt.callbacks"],
}
LAZY = ("torchvision", "sklearn", "matplotlib", "scipy", "pandas", "optuna")


def imports(path: Path, top_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_go_downwards(path):
    rules = [names for place, names in FORBIDDEN.items() if relative(path).startswith(place)]
    for forbidden in [name for names in rules for name in names]:
        assert not [name for name in imports(path) if name.startswith(forbidden)]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_heavy_libraries_are_imported_where_they_are_used(path):
    assert not [n for n in imports(path, top_level=True) if n.startswith(LAZY)]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_nothing_imports_the_command_line_but_the_door(path):
    if relative(path) not in ("cli.py", "lit_cli.py"):
        assert not [n for n in imports(path) if n.startswith(("lit_opt.cli", "lit_opt.lit_cli"))]


def test_what_a_cloner_edits_together_is_short():
    lines = [
        len((PACKAGE / f).read_text().splitlines()) for f in ("module.py", "models.py", "losses.py")
    ]
    assert sum(lines) < 300
