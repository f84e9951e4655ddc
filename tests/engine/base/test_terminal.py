"""The line that is drawn over, seen on a pretended screen."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from itertools import groupby

import pytest
from sabotage import TRAIN, VARIABLES
from terminal import Terminal

from lit_opt.engine.base.terminal import (
    ERASE,
    cut_to,
    draw,
    erase,
    erasing,
    is_live,
    long_step,
)
from lit_opt.engine.cli.streams import unfailing_streams


def test_a_drawn_line_is_gone_when_something_is_printed_and_at_the_end(monkeypatch):
    terminal = Terminal(monkeypatch)
    with unfailing_streams():
        draw("far")
        draw("farther, until column 80" + "." * 80)
        print("told")
        draw("again")
        print("Continue? ", end="")
        draw("not over a question")
        print()
        draw("the end")
    assert terminal.screen() == ["told", "Continue? "]
    assert [len(text) for text in terminal.drawn] == [3, 79, 5, 7]


def test_a_long_step_shows_itself_after_a_second_the_innermost_first(monkeypatch):
    terminal = Terminal(monkeypatch)
    monkeypatch.setattr("lit_opt.engine.base.terminal.WAIT", 0.01)
    with long_step("outer"):
        wait_for("outer", terminal)
        with long_step(lambda: "inner, batch 7,"):
            wait_for("inner", terminal)
        assert terminal.screen() == []
    shown = [re.sub(r" \d+ s$", "", text) for text in terminal.drawn]
    assert [text for text, _ in groupby(shown)] == ["outer", "inner, batch 7,"]
    with pytest.raises(KeyboardInterrupt), long_step("x"):
        time.sleep(0.05)
        raise KeyboardInterrupt
    assert terminal.screen() == []


def wait_for(text, terminal):
    deadline = time.monotonic() + 60
    while not any(drawn.startswith(text) for drawn in terminal.drawn):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"CI": "true"}, {"LOCAL_RANK": "1"}])
def test_where_no_line_can_be_drawn_over(monkeypatch, variables):
    Terminal(monkeypatch)
    assert is_live()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not is_live()


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("ascii", "dé", "d\\xe9"),
        ("utf-8", "dé", "dé"),
        ("utf-8", "数字字", "数字"),
        ("ascii", "abcdef", "abcde"),
    ],
)
def test_widths_are_those_of_the_characters_that_are_shown(monkeypatch, encoding, text, shown):
    monkeypatch.setattr(sys, "stdout", type("", (), {"encoding": encoding}))
    assert cut_to(text, 5) == shown


def test_erasing_twice_writes_nothing(monkeypatch):
    terminal = Terminal(monkeypatch)
    draw("x")
    erase()
    before = terminal.getvalue()
    erase()
    assert terminal.getvalue() == before


def test_a_signal_while_the_line_is_drawn_or_erased_erases_it(monkeypatch):
    """Its answer may come right after what the terminal has been sent."""
    terminal, told = Terminal(monkeypatch), []
    monkeypatch.setattr(os, "isatty", lambda number: True)
    monkeypatch.setattr(terminal, "flush", lambda: told.append(erasing()))
    draw("x")
    erase()
    assert told == [ERASE, ERASE]
    assert erasing() == ""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_stopped_run_leaves_a_clean_terminal(number):
    """In a real pseudo-terminal; what is drawn last is erased, and the cursor was never hidden."""
    master, slave = os.openpty()
    words = [sys.executable, str(TRAIN), "--epochs=1000", "--batch_size=1", "--name=a"]
    variables = {**os.environ, **VARIABLES, "TERM": "xterm", "COLUMNS": "80"}
    variables.pop("CI", None)
    one = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=variables)
    os.close(slave)
    seen = ""
    with contextlib.suppress(OSError):  # the terminal's end
        while chunk := os.read(master, 4096):
            if "samples/s" not in seen and "samples/s" in seen + chunk.decode():
                one.send_signal(number)
            seen += chunk.decode()
    os.close(master)
    assert one.wait() == 128 + number
    terminal = Terminal(None)
    terminal.write(seen.replace("\r\n", "\n"))
    end = terminal.screen()
    assert end[-1].startswith(f"stopped: {number.name} at step ")
    assert not [line for line in end if line in terminal.drawn]
    assert "\x1b[?" not in seen
