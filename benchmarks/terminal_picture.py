"""Draws what `python train.py` prints as docs/terminal.svg, the picture in the README.

Another file may be given: python benchmarks/terminal_picture.py FILE
"""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/terminal.svg"
SHOWN = 5  # epochs, of which the last one; the others are a line of an ellipsis


def printed(folder: str) -> list[str]:
    """The lines of `python train.py` in an empty folder."""
    command = [sys.executable, str(ROOT / "train.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
    return run.stdout.decode().splitlines()


def shortened(lines: list[str]) -> list[str]:
    epochs = [k for k, line in enumerate(lines) if line.startswith("epoch")]
    hidden = range(epochs[SHOWN - 1], epochs[-1])
    kept = [line for k, line in enumerate(lines) if k not in hidden]
    return [*kept[: hidden.start], "…", *kept[hidden.start :]]


def drawn(lines: list[str]) -> str:
    """An SVG without fonts out of the network."""
    console = Console(record=True, width=max(map(len, lines)) + 1, file=io.StringIO())
    for line in lines:
        bold = line.startswith(("$", "Test"))
        console.print(Text(line, style="bold" if bold else ""), highlight=False)
    svg = console.export_svg(title="lit-opt", theme=SVG_EXPORT_THEME, unique_id="lit-opt")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


if __name__ == "__main__":
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with tempfile.TemporaryDirectory() as folder:
        picture.write_text(drawn(["$ python train.py", *shortened(printed(folder))]))
    print(picture)
