"""Whenever the process dies, one whole file is there."""

import os
from pathlib import Path

import pytest

from lit_opt.engine.base.errors import RunError
from lit_opt.engine.runs import atomic_file as aside
from lit_opt.engine.runs.atomic_file import atomic_write, reason, write_text

LAST, PREVIOUS = Path("run/last"), Path("run/previous")


class Killed(BaseException):
    pass


def save(content: str) -> None:
    with atomic_write(LAST, PREVIOUS) as file:
        file.write(content.encode())


def files() -> dict[str, str]:
    return {path.name: path.read_text() for path in Path("run").iterdir()}


@pytest.fixture
def two_saved() -> None:
    save("first")
    save("second")
    assert files() == {"last": "second", "previous": "first"}


def die_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the given one of the calls that change a folder; nothing is tidied up after it."""
    calls = iter(range(moment + 1))

    def counted(original):
        def call(*args):
            if next(calls) == moment:
                raise Killed
            return original(*args)

        return call

    for owner, name in ((os, "fsync"), (Path, "hardlink_to"), (Path, "replace")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    monkeypatch.setattr(aside, "remove", lambda *paths: None)


@pytest.mark.parametrize("moment", range(4))
@pytest.mark.parametrize("damaged", [False, True])
def test_killed_at_any_moment_one_whole_file_is_there(two_saved, monkeypatch, moment, damaged):
    if damaged:
        LAST.write_text("damaged")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at(moment, patch)
        save("third")
    left = files()
    whole = {"first", "second", "third"} & {left["last"], left["previous"]}
    assert whole
    assert left["last"] in ("third", "damaged" if damaged else "second")
    save("fourth")
    assert files() == {"last": "fourth", "previous": left["last"]}


def refuse(*args: object) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("call", ["replace", "open"])
def test_what_the_system_refuses_is_told_and_changes_nothing(two_saved, monkeypatch, call):
    with monkeypatch.context() as patch, pytest.raises(RunError) as caught:
        patch.setattr(Path, call, refuse)
        save("third")
    assert str(caught.value).startswith("can't write 'run/last': Permission denied\n")
    assert files() == {"last": "second", "previous": "first"}


def test_other_errors_pass_and_change_nothing(two_saved):
    with pytest.raises(KeyboardInterrupt), atomic_write(LAST, PREVIOUS) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert files() == {"last": "second", "previous": "first"}


def test_where_a_file_can_have_but_one_name_it_is_copied(two_saved, monkeypatch):
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    save("third")
    assert files() == {"last": "third", "previous": "second"}


def test_the_reason_is_what_the_system_said():
    with pytest.raises(RuntimeError) as caught:
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 401408 vs 401360")
    assert reason(caught.value) == "No space left on device"
    assert reason(RuntimeError("first line\nsecond line")) == "first line"


def test_a_name_of_a_file_keeps_its_bytes(tmp_path):
    write_text(tmp_path / "a", "M\udcc3\udca4use")  # how an ASCII locale reads an umlaut
    assert (tmp_path / "a").read_bytes() == "Mäuse".encode()
