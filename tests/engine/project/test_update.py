"""What an update does to files that were changed here, in lit-opt, or in both."""

import subprocess

import pytest

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.project.update import (
    check_clean,
    new_lines,
    record,
    recorded,
    three_way_merge,
    update,
)

LINES = [f"line {k}\n".encode() for k in range(9)]


def text(**changed: str) -> bytes:
    """Nine lines, of which some are others: `text(l2="x")`."""
    return b"".join(changed.get(f"l{k}", line.decode()).encode() for k, line in enumerate(LINES))


@pytest.mark.parametrize(
    ("before", "here", "there", "written", "deleted", "conflict"),
    [
        (b"a", b"a", b"a", None, False, ""),
        (b"a", b"a", b"b", b"b", False, ""),
        (b"a", b"b", b"a", None, False, ""),
        (b"a", b"b", b"b", None, False, ""),
        (None, None, b"b", b"b", False, ""),
        (b"a", b"a", None, None, True, ""),
        (b"a", None, None, None, False, ""),
        (None, b"mine", None, None, False, ""),
        (b"a", b"b", None, None, False, "deleted in lit-opt"),
        (b"a", None, b"b", None, False, "stays deleted"),
        (text(), text(l1="x\n"), text(l7="y\n"), text(l1="x\n", l7="y\n"), False, ""),
        (b"\0a", b"\0b", b"\0c", None, False, "no text"),
    ],
)
def test_each_case_of_a_file(before, here, there, written, deleted, conflict):
    sides = [{"f": side} if side is not None else {} for side in (before, here, there)]
    merge = three_way_merge(*sides)
    assert merge.written.get("f") == written
    assert merge.deleted == (["f"] if deleted else [])
    assert conflict in merge.conflicts.get("f", "")
    assert bool(merge.conflicts) == bool(conflict)


def test_a_conflict_has_both_sides_between_markers():
    merge = three_way_merge({"f": text()}, {"f": text(l4="x\n")}, {"f": text(l4="y\n")})
    marked = b"<<<<<<< here\nx\n=======\ny\n>>>>>>> lit-opt\n"
    assert merge.written["f"] == text(l4=marked.decode())
    assert merge.conflicts["f"].startswith("1 place")


def test_the_lines_of_the_interface_that_are_new():
    assert new_lines(b"# A\n- old\n", b"# A\ntext\n- new\n- old\n") == ["- new"]
    assert new_lines(b"", b"") == []


PYPROJECT = """[project]
version = "3"

[tool.lit-opt]
# kept
package = "mine"
version = "0"
commit = "abc"

[tool.other]
version = "9"
"""


def test_the_record_moves_on_and_nothing_else(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    assert recorded(tmp_path) == ("mine", "abc")
    record(tmp_path, "def", "1")
    wanted = PYPROJECT.replace('version = "0"', 'version = "1"').replace("abc", "def")
    assert (tmp_path / "pyproject.toml").read_text() == wanted


@pytest.mark.parametrize(
    ("old", "new"),
    [("commit = ", "commit="), ('"abc"', "'abc'"), ("[tool.lit-opt]", "[ tool . 'lit-opt' ] # it")],
)
def test_the_record_moves_on_however_it_is_written(tmp_path, old, new):
    text = PYPROJECT.replace(old, new).replace("\n", "\r\n")
    (tmp_path / "pyproject.toml").write_bytes(text.encode())
    record(tmp_path, "def", "1")
    assert recorded(tmp_path) == ("mine", "def")
    assert (tmp_path / "pyproject.toml").read_bytes().count(b"\r\n") == text.count("\r\n")


def test_a_project_may_lie_in_a_larger_repository(tmp_path):
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / "sub/mine/engine").mkdir(parents=True)
    check_clean(tmp_path / "sub", "mine")
    (tmp_path / "sub/mine/engine/a.py").touch()
    with pytest.raises(UserError, match=r"^mine/engine/a\.py has changes"):
        check_clean(tmp_path / "sub", "mine")


@pytest.mark.parametrize(
    ("pyproject", "source", "told"),
    [
        (None, "x", "that `python train.py new` has made"),
        ("[tool.lit-opt", "x", "that `python train.py new` has made"),
        (PYPROJECT, "x", "in no git repository"),
    ],
)
def test_where_there_is_nothing_to_update(tmp_path, pyproject, source, told):
    if pyproject:
        (tmp_path / "pyproject.toml").write_text(pyproject)
    with pytest.raises(UserError, match=told):
        update(["--from", source])


def test_changes_that_git_could_not_bring_back_are_committed_first(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "mine/engine").mkdir(parents=True)
    (tmp_path / "mine/engine/a.py").touch()
    subprocess.run(["git", "init", "-q"], check=True)
    with pytest.raises(UserError, match="mine/engine"):
        update(["--from", "."])
