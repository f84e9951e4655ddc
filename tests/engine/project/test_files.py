"""A package gets another name in all files, and nothing else changes."""

import pytest

from lit_opt.engine.base.allowed_imports import TEMPLATE
from lit_opt.engine.cli.class_paths import moved
from lit_opt.engine.project.files import goes_along, is_of_the_engine, renamed, renamed_files

OLD = f"from {TEMPLATE}.engine.runs.atomic_file import atomic_write, write_text, another_long_one"
NAME = "my_package_of_a_long_name"
BROKEN = f"""from {NAME}.engine.runs.atomic_file import (
    atomic_write,
    write_text,
    another_long_one,
)
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"import {TEMPLATE}", f"import {NAME}"),
        (f'homes = ["{TEMPLATE}.models"]', f'homes = ["{NAME}.models"]'),
        (f"`{TEMPLATE}/engine/` and {TEMPLATE}_cache", f"`{NAME}/engine/` and {TEMPLATE}_cache"),
        (f".{TEMPLATE}_cache", f".{TEMPLATE}_cache"),
        (OLD + "\n", BROKEN),
        (f"    {OLD}\n", "".join(f"    {line}\n" for line in BROKEN.splitlines())),
        (f"a\r\n{TEMPLATE}\r\n", f"a\r\n{NAME}\r\n"),
    ],
)
def test_names_in_a_text(text, expected):
    assert renamed(text.encode(), NAME).decode() == expected


def test_what_is_no_text_stays():
    content = b"\xff\xfe" + TEMPLATE.encode()
    assert renamed(content, "mine") == content


def test_whose_a_file_is():
    engine = f"{TEMPLATE}/engine/cli/run.py"
    assert is_of_the_engine(engine)
    assert is_of_the_engine("tests/engine/cli/test_run.py")
    for path in (f"{TEMPLATE}/module.py", "train.py", "tests/test_module.py", "pyproject.toml"):
        assert not is_of_the_engine(path)
    for path in ("benchmarks/speed.py", "README.md", f"{TEMPLATE}/engine/project/new.py"):
        assert not goes_along(path)
    assert list(renamed_files({engine: b""}, "mine")) == ["mine/engine/cli/run.py"]


def test_class_paths_of_the_template_are_found_in_a_package_of_another_name():
    here = __name__ and moved(f"{TEMPLATE}.models.MLP")
    assert here == renamed(f"{TEMPLATE}.models.MLP".encode(), here.partition(".")[0]).decode()
