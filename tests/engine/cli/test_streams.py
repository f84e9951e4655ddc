"""A stdout or stderr that can't be written to changes nothing but the lines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sabotage import TRAIN, VARIABLES

from lit_opt.engine.cli.streams import unfailing_streams


def full_device():
    return Path("/dev/full").open("w")


def left_by_its_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="ascii")


@pytest.mark.parametrize("opened", [full_device, left_by_its_reader])
def test_a_stream_that_fails_leads_to_devnull_from_then_on(monkeypatch, opened):
    stream = opened()
    with pytest.raises(OSError, match=r"No space|Broken pipe"):
        os.write(stream.fileno(), b"it does fail")
    monkeypatch.setattr(sys, "stdout", stream)
    with unfailing_streams():
        print("é \udcc3")  # buffered
        sys.stdout.flush()
        print("more", flush=True)
        os.write(stream.fileno(), b"past Python's buffer")
    assert sys.stdout is stream
    stream.close()


def test_what_ascii_lacks_is_written_escaped(monkeypatch):
    with Path("out").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with unfailing_streams():
            print("é")
    assert Path("out").read_bytes() == b"\\xe9\n"


def test_a_process_without_streams_gets_devnull(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with unfailing_streams():
        print("nobody hears it", flush=True)
        assert not sys.stdout.isatty()


WORDS = ["--epochs=2", "--limit_train_batches=3", "--net.hidden=[8]"]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
SITUATIONS = [
    *[(way, {}) for way in (">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full", "2>/dev/full")],
    *[("| head -1", {}), ("--data_dir=é", ASCII)],
]


@pytest.mark.slow
@pytest.mark.parametrize(("way", "variables"), SITUATIONS)
def test_a_run_saves_the_same_and_exits_with_0(run, way, variables):
    expected = run(*WORDS, "--name=heard").folder
    command = f"set -o pipefail; {sys.executable} {TRAIN} {' '.join(WORDS)} --name=a {way}"
    done = subprocess.run(["bash", "-c", command], env={**os.environ, **VARIABLES, **variables})
    assert done.returncode == 0
    for name in ("metrics.json", "metrics.csv"):
        assert Path("runs/a", name).read_bytes() == (expected / name).read_bytes()
