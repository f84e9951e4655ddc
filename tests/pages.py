"""What the pages of the README and of docs/ hold, and what their readers have."""

import csv
import re
import shlex
from pathlib import Path

import numpy as np
from PIL import Image


def files_of(text: str) -> dict[str, str]:
    """The code of a section, by the name of the file that its first line states."""
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return {block.split("\n")[0].removeprefix("# "): block for block in blocks}


def lines_of(text: str) -> list[str]:
    """The lines of all blocks of commands."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def commands_of(text: str) -> list[list[str]]:
    """The words after `python train.py`, of each such line."""
    lines = [line for line in lines_of(text) if line.startswith("python train.py")]
    return [shlex.split(line)[2:] for line in lines]


def write_own_data() -> None:
    """Pictures in folders and in a table, a table with gaps, arrays and texts, right here."""
    draw = np.random.default_rng(0)
    with Path("labels.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["file", "label"])
        for k in range(60):
            kind, size = ("dark", "bright")[k % 2], draw.integers(32, 48, 2)
            path = Path("pictures", kind, f"{k}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(k % 2 * 128, k % 2 * 128 + 127, size, "uint8")).save(path)
            lines.writerow([path.relative_to("pictures"), kind])
    rows = [f"{k},{'' if k % 7 == 0 else k % 11},{'ab'[k % 2]},{k * 1.5}" for k in range(200)]
    Path("table.csv").write_text("\n".join(["id,rooms,kind,price", *rows]))
    Path("new.csv").write_text("id,rooms,kind\n1,,a\n2,3,c\n")
    Path("new").mkdir()
    Path("new/names.csv").write_text("file\nbright.png\ndark.png\n")
    for kind in ("dark", "bright"):
        Image.new("L", (40, 32), {"dark": 20, "bright": 230}[kind]).save(f"new/{kind}.png")
    texts = {"train": "To be, or not to be: " * 200, "test": "that is the question. " * 20}
    Path("texts").mkdir()
    for split, text in texts.items():
        Path(f"texts/{split}.txt").write_text(text)
    Path("prompts").mkdir()
    Path("prompts/test.txt").write_text("The licensor\n")
    Path("arrays").mkdir()
    for split in ("train", "test"):
        x = draw.normal(size=(90, 4)).astype("float32")
        np.savez(f"arrays/{split}.npz", x=x, y=(x[:, 0] > 0).astype("int64"))
