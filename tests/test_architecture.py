"""Two zones, one seam: imports go downwards only, also through others."""

import ast
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "lit_opt"
FILES = sorted(PACKAGE.rglob("*.py"))
ENGINE = "lit_opt.engine"
YOURS = [f"lit_opt.{name}" for name in ("module", "datamodule", "models", "losses", "sources")]
# The rooms of the engine from the ground up; a room imports those before it.
ROOMS = ["errors", "lightning_private", "allowed_imports", "optim", "tasks", "loading"]
ROOMS += ["callbacks", "runs", "cli"]
LAZY = ("torchvision", "sklearn", "matplotlib", "scipy", "pandas", "optuna")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


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


@pytest.mark.parametrize("module", MODULES)
def test_no_module_reaches_itself(module):
    assert module not in reached(module)


@pytest.mark.parametrize("module", ["lit_opt.models", "lit_opt.losses"])
def test_nets_and_losses_know_nothing_of_lightning(module):
    assert not starting(reached(module), "lightning", "lit_opt")


def test_module_and_data_do_not_reach_each_other():
    rooms = {m: {room(name) for name in reached(m) if name in MODULES} for m in MODULES}
    assert not starting(reached("lit_opt.module"), "lit_opt.datamodule", "lit_opt.sources")
    assert not starting(reached("lit_opt.datamodule"), "lit_opt.module", "lit_opt.models")
    assert "loading" not in rooms["lit_opt.module"]
    assert not {"optim", "tasks"} & rooms["lit_opt.datamodule"]
    assert not {"callbacks", "runs", "cli"} & (
        rooms["lit_opt.module"] | rooms["lit_opt.datamodule"]
    )


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_heavy_libraries_are_imported_where_they_are_used(path):
    assert not starting(imports(path, top_level=True), *LAZY)


def test_what_a_newcomer_lists_is_short():
    beside = [p.name for p in PACKAGE.iterdir() if p.name not in ("engine", "__pycache__")]
    assert len(beside) <= 8
    first = [ROOT / "train.py", *(ROOT / f"{name.replace('.', '/')}.py" for name in YOURS)]
    assert sum(len(path.read_text().splitlines()) for path in first) <= 500
