"""The pages of docs/ say what is so: their code runs, what they and --help name is there."""

import csv
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, main
from PIL import Image

PAGE = (ROOT / "docs/make_it_yours.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
SEAMS = [title for title, text in SECTIONS.items() if "```bash" in text]
SLOW = {"My data: a set of torchvision", "My data: a table of paths and labels", "My step"}
SLOW |= {"My transform", "My callback"}


def files_of(text: str) -> dict[str, str]:
    """The code of a section, by the name of the file that its first line states."""
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return {block.split("\n")[0].removeprefix("# "): block for block in blocks}


def commands_of(text: str) -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("python train.py") for line in lines)
    return [shlex.split(line)[2:] for line in lines]


@pytest.fixture
def own_data():
    """What a reader has: pictures in folders and in a table, a table with gaps, arrays."""
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
    Path("arrays").mkdir()
    for split in ("train", "test"):
        x = draw.normal(size=(90, 4)).astype("float32")
        np.savez(f"arrays/{split}.npz", x=x, y=(x[:, 0] > 0).astype("int64"))


def seams() -> list:
    return [pytest.param(t, marks=[pytest.mark.slow] if t in SLOW else []) for t in SEAMS]


@pytest.mark.parametrize("title", seams())
def test_each_seam_is_ten_lines_and_one_command_that_runs(title, own_data, monkeypatch, capsys):
    files, commands = files_of(SECTIONS[title]), commands_of(SECTIONS[title])
    assert len(commands) == 1
    for name, code in files.items():
        lines = [line for line in code.splitlines()[1:] if line.strip()]
        assert len(lines) <= 10, name
        Path(name).write_text(code)
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    monkeypatch.syspath_prepend(Path.cwd())
    ran = main([*commands[0], f"--epochs={1 + ('metric' in title)}", "--name=a"])
    named = {m[1] for word in commands[0] for m in re.finditer(r"\b(my_\w+)\.\w", word)}
    assert {f"{name}.py" for name in named} == files.keys()
    assert ran.trainer.global_step
    assert DONE[title](ran, capsys.readouterr().out)


def column(name: str) -> list[float]:
    with Path("runs/a/metrics.csv").open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


def shape_and_classes(ran) -> tuple:
    return ran.datamodule.in_shape, ran.datamodule.class_names


def noise_is_added(ran, out: str) -> bool:
    batch = torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    ran.trainer.state.fn, ran.trainer.training = "fit", True
    return ran.datamodule.on_after_batch_transfer(batch, 0)[0].std() > 0.1


# What each has done, by its section.
PICTURES = (3, 32, 32), ["bright", "dark"]
DONE = {
    "My net": lambda ran, out: ran.model.net[0].weight.shape == (32, 1, 3, 3),
    "My loss": lambda ran, out: ran.model.loss.loss.__name__ == "focal",
    "My metric": lambda ran, out: (
        ran.scores["val/TopTwo"] == pytest.approx(max(column("val/TopTwo")))
    ),
    "My data: pictures in folders": lambda ran, out: shape_and_classes(ran) == PICTURES,
    "My data: a table of paths and labels": lambda ran, out: shape_and_classes(ran) == PICTURES,
    "My data: a table": lambda ran, out: shape_and_classes(ran) == ((5,), None),
    "My data: arrays": lambda ran, out: ran.datamodule.in_shape == (4,),
    "My data: a set of torchvision": lambda ran, out: len(ran.datamodule.splits["val"]) == 20,
    "My transform": noise_is_added,
    "My step": lambda ran, out: type(ran.model).__name__ == "Consistent",
    "My optimizer groups": lambda ran, out: (
        [group["lr"] for group in ran.trainer.optimizers[0].param_groups]
        == pytest.approx([0.01, 0.1])
    ),
    "My callback": lambda ran, out: column("weights/max")[0] > 0,
    "My logger": lambda ran, out: "{'val/acc':" in out,
    "My LightningModule and LightningDataModule": lambda ran, out: (
        1 < ran.model.net.weight.item() + ran.model.net.bias.item() < 3.5
    ),
}


def test_the_order_is_from_the_smallest_change_to_the_largest():
    assert [title.removeprefix("My ").partition(":")[0] for title in SEAMS] == [
        *["net", "loss", "metric", *["data"] * 5, "transform", "step", "optimizer groups"],
        *["callback", "logger", "LightningModule and LightningDataModule"],
    ]
