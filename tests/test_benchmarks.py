"""The programs behind the stated figures run."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

SHARED = ROOT.parent / "shared/data"
SPEED = ["bare loop", "tutorial", "Lightning documented", "lit-opt", "lit-opt, 32 steps in one"]
SPEED += ["lit-opt, bf16-mixed", "tutorial, scored", "lit-opt, scored", "tutorial / lit-opt"]
SPEED += [f"tutorial / lit-opt, {what}" for what in ("32 steps in one", "bf16-mixed", "scored")]
CHECKPOINTS = ["torch.save saved", "torch.save loaded", "Lightning saved", "Lightning loaded"]
CHECKPOINTS += [f"lit-opt {done}" for done in ("saved", "loaded", "verified")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("speed.py --samples=2048 --rounds=1 --batch_sizes 1024", SPEED),
        ("image_folder.py --images=40 --rounds=1", ["lit-opt, second epoch on"]),
        ("checkpoints.py --megabytes=2 --rounds=1", CHECKPOINTS),
        ("bare_loops.py --steps=2 --rounds=1 --cpu", ["char_lm", "stream", "table", "gan"]),
        ("terminal_picture.py picture.svg", ["picture.svg"]),
        ("plain.py --steps=5 --rounds=1", ["Lightning alone"]),
        pytest.param(
            *(f"tutorial_loop.py --seeds=1 --data_dir={SHARED}", ["test/acc 0.8"]),
            marks=pytest.mark.skipif(not SHARED.is_dir(), reason="needs Fashion-MNIST"),
        ),
    ],
)
def test_it_runs_and_prints(command, printed):
    """A line begins with each of `printed`, in this order."""
    name, *words = command.split()
    program = [sys.executable, str(ROOT / "benchmarks" / name), *words]
    done = subprocess.run(program, check=True, capture_output=True, text=True, timeout=300)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    starts = [rf"^{re.escape(start)}" for start in printed]
    assert re.search(".*?".join(starts), "\n".join(lines), re.DOTALL | re.MULTILINE)
