"""Two zones, one seam: imports go downwards only, also through others."""

import ast
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

from lit_opt.engine.base.allowed_imports import OWN, TEMPLATE

PACKAGE = ROOT / "lit_opt"
FILES = sorted(PACKAGE.rglob("*.py"))
ENGINE = "lit_opt.engine"
YOURS = ["module", "datamodule", "models", "losses", "sources"]
YOURS = [f"lit_opt.{name}" for name in YOURS]
# What is yours in a project made from lit-opt is yours to lay out.
CHECKED = [p for p in FILES if p.is_relative_to(PACKAGE / "engine") or OWN == TEMPLATE]
# The rooms of the engine from the ground up; a room imports those before it.
ROOMS = ["lightning_private", "base", "optim", "tasks", "loading"]
ROOMS += ["callbacks", "runs", "reports", "project", "cli"]
LAZY = ("torchvision", "sklearn", "matplotlib", "scipy", "pandas", "pyarrow", "optuna")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def imports(path: Path, top_level: bool = False) -> set[str]:
    """The names that a file imports, those under `if TYPE_CHECKING:` left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    nodes = tree.body if top_level else list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@cache
def reached(module: str) -> frozenset[str]:
    """All that a module imports, straight or through others, libraries included."""
    found, ahead = set(), [module]
    while ahead:
        for name in imports(MODULES[ahead.pop()]) - found:
            found.add(name)
            if name in MODULES:
                ahead.append(name)
    return frozenset(found)


def starting(names: frozenset[str] | set[str], *starts: str) -> list[str]:
    return [n for n in names if any(n == s or n.startswith(f"{s}.") for s in starts)]


def room(module: str) -> str:
    return module.split(".")[2] if module.startswith(f"{ENGINE}.") else ""


@pytest.mark.parametrize("module", [m for m in MODULES if room(m)])
def test_a_room_of_the_engine_imports_those_below_and_nothing_of_yours(module):
    assert not starting(reached(module), *YOURS)
    above = ROOMS[ROOMS.index(room(module)) + 1 :]
    assert not starting(reached(module), *(f"{ENGINE}.{name}" for name in above))


def test_no_module_reaches_itself():
    assert not [module for module in MODULES if module in reached(module)]


@pytest.mark.parametrize("path", CHECKED, ids=name_of)
def test_heavy_libraries_are_imported_where_they_are_used(path):
    assert not starting(imports(path, top_level=True), *LAZY)


# ---- the seam ----

SEAM = PACKAGE / "engine/lightning_private.py"
# Without an underscore, and private all the same: patched, or read where nothing promises them.
UNDOCUMENTED = {"__wrapped__", "hooked", "lightning_module_state_dict", "SIGTERMException"}


def own_private_names() -> set[str]:
    """The names with an underscore that the package itself defines."""
    names = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def is_private(name: str) -> bool:
    return (name.startswith("_") and not name.startswith("__")) or name in UNDOCUMENTED


DEFINED_HERE = own_private_names() - UNDOCUMENTED


@pytest.mark.parametrize("path", [p for p in CHECKED if p != SEAM], ids=name_of)
def test_private_names_of_libraries_stay_behind_the_seam(path):
    tree = ast.parse(path.read_text())
    docstrings = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    }
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found |= {
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant)
        and isinstance(n.value, str)
        and n.value.isidentifier()
        and n.value not in docstrings
    }
    others = [name for name in imports(path) if not starting({name}, "lit_opt")]
    foreign = {name.rpartition(".")[2] for name in others}
    assert not {name for name in found if is_private(name)} - DEFINED_HERE
    assert not {name for name in foreign if is_private(name)} - {"_"}


def test_one_word_has_one_meaning():
    """No two functions, classes or constants of the package share a name."""
    seen: dict[str, list[str]] = {}
    for module, path in [(name_of(path), path) for path in CHECKED]:
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            names = [t.id for t in targets if isinstance(t, ast.Name)]
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.append(node.name)
            for name in names:
                seen.setdefault(name, []).append(module)
    assert not {name: where for name, where in seen.items() if len(where) > 1 and name != "__all__"}
