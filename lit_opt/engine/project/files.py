"""Which files a project has from lit-opt, whose they are, and how the package gets its name."""

import re
from collections.abc import Mapping
from pathlib import Path

from lit_opt.engine.base.allowed_imports import TEMPLATE

WIDTH = 100

# What stays with lit-opt: its measurements, pages and results, and the means to make projects.
LEFT_OUT: tuple[str, ...] = ("benchmarks/", "docs/", "examples/", "tests/examples/", "configs/")
LEFT_OUT += ("README.md", "CHANGES.md", "CONTRIBUTING.md", "LICENSE", "train.py")
LEFT_OUT += ("tests/test_benchmarks.py", "tests/test_readme.py", "tests/test_docs.py")
LEFT_OUT += ("tests/pages.py",)
LEFT_OUT += ("tests/test_configs.py", "tests/test_yours.py", "tests/engine/project/test_new.py")
LEFT_OUT += tuple(f"{TEMPLATE}/engine/project/{name}.py" for name in ("new", "example"))
KEPT_CONFIG = "configs/digits.yaml"
KEPT_PAGE = "docs/make_it_yours.md"

# What an update replaces: the engine, its tests and its page, and what these stand on.
REPLACED: tuple[str, ...] = (f"{TEMPLATE}/engine/", "tests/engine/", KEPT_PAGE)
TOOLS = [
    "conftest",
    "digits_as_files",
    "digits_program",
    "memory",
    "recorder",
    "sabotage",
    "terminal",
]
PROMISES = [
    "architecture",
    "faults",
    "pretended_gpu",
    "processes",
    "trainer_flags",
    "twin",
    "two_nodes",
]
PROMISES += ["unreadable"]
REPLACED += tuple(f"tests/{name}.py" for name in TOOLS)
REPLACED += tuple(f"tests/test_{name}.py" for name in PROMISES)


def goes_along(path: str) -> bool:
    """Whether a file of lit-opt, by its path from the root, is part of a project."""
    return path in (KEPT_CONFIG, KEPT_PAGE) or not path.startswith(LEFT_OUT)


def is_of_the_engine(path: str) -> bool:
    """Whether an update replaces a file of lit-opt, by its path from the root."""
    return path.startswith(REPLACED) and goes_along(path)


def renamed_files(files: Mapping[str, bytes], package: str) -> dict[str, bytes]:
    """Files of lit-opt, by their paths from the root, with `package` in the place of its own."""
    return {
        re.sub(rf"^{TEMPLATE}(?=/)", package, path): renamed(content, package)
        for path, content in files.items()
    }


def renamed(content: bytes, package: str) -> bytes:
    """The content of a file with `package` in the place of lit-opt's.

    Imports that become longer than 100 characters are broken into lines, as ruff breaks them. What
    is no UTF-8 text stays as it is.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content
    text = re.sub(rf"\b{TEMPLATE}\b", package, text)
    return "".join(_wrapped(line) for line in text.splitlines(keepends=True)).encode()


def _wrapped(line: str) -> str:
    match = re.fullmatch(r"( *)(from [\w.]+ import) ([\w, ]+)\n", line)
    if match is None or len(line) <= WIDTH + 1:
        return line
    indent, start, names = match.groups()
    lines = "".join(f"{indent}    {name.strip()},\n" for name in names.split(","))
    return f"{indent}{start} (\n{lines}{indent})\n"


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files by their paths from `folder`; scripts become executable."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if content.startswith(b"#!"):
            file.chmod(0o755)
