import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from PIL import Image

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import Classes, Regression
from lit_opt.sources import ImageTable


def write(lines: list[str], values: dict[str, int]) -> Path:
    """The table labels.csv and the images that `values` names, each of one grey."""
    for name, value in values.items():
        path = Path("images", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), value).save(path)
    Path("labels.csv").write_text("\n".join(lines))
    return Path("images")


def grey(x: torch.Tensor) -> list[int]:
    return x[:, 0, 0, 0].tolist()


def test_splits_by_a_column_files_by_the_table_classes_by_name():
    lines = ["file,label,split", "x/b.png,dog,train", "a.png,cat,TRAIN", "c.png,dog,valid"]
    folder = write(
        [*lines, "d.png,cat,test", "e.png,,test"],
        dict(zip(["x/b.png", "a.png", "c.png", "d.png"], [20, 10, 30, 40], strict=True)),
    )
    source = ImageTable()
    x, y = source.load(folder, "train")
    assert (grey(x), y.tolist(), source.classes) == ([20, 10], [1, 0], ["cat", "dog"])
    assert source.sample_names == source.files == ["x/b.png", "a.png"]
    assert grey(source.load(folder, "val")[0]) == [30]
    assert grey(source.load(folder, "test")[0]) == [40]
    assert type(source.targets) is Classes
    source.known_classes = ["dog", "cat"]  # a checkpoint's
    assert source.load(folder, "train")[1].tolist() == [0, 1]


def test_numbers_suffix_and_every_fifth_without_a_column_of_splits():
    names = {f"{k}.png": k for k in range(10)}
    lines = ["id,age"] + [f"{k},{k + 0.5}" for k in range(10)]
    folder = write(lines, names)
    source = ImageTable(target="age", files="id", suffix=".png")
    x, y = source.load(folder, "test")
    assert (grey(x), y.tolist()) == ([4, 9], [[4.5], [9.5]])
    assert isinstance(source.targets, Regression)
    assert grey(source.load(folder, "train")[0]) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert source.load(folder, "val") is None


@pytest.mark.parametrize("classes", [["cat", "dog"], None])
def test_what_is_predicted_needs_no_label(classes):
    folder = write(["file", *(f"{k}.png" for k in range(6))], {f"{k}.png": k for k in range(6)})
    source = ImageTable()
    source.known_classes, source.labelled = classes, False
    assert grey(source.load(folder, "test")[0]) == [0, 1, 2, 3, 4, 5]
    assert type(source.targets) is (Classes if classes else Regression)
    with pytest.raises(UserError, match="no column 'label'"):
        ImageTable().load(folder, "test")


def test_a_missing_file_is_named_or_left_out(capsys):
    lines = ["file,label", "a.png,x", "gone.png,x", "b.png,y", "c.png,y"]
    folder = write(lines, {"a.png": 1, "b.png": 2, "c.png": 3})
    with pytest.raises(UserError, match=r"images/gone\.png': No such file"):
        ImageTable(cache=False).load(folder, "train")
    x, y = ImageTable(skip_broken=True).load(folder, "train")
    assert (grey(x), y.tolist()) == ([1, 2, 3], [0, 1, 1])


@pytest.mark.parametrize(
    ("line", "option"),
    [("image,label", "--dataset.files"), ("file,label,split", "--dataset.split")],
)
def test_errors_name_the_option(line, option):
    folder = write([line, "a.png,x" + ",y" * line.count("split")], {"a.png": 1})
    with pytest.raises(UserError, match=option):
        ImageTable().load(folder, "train")


@pytest.mark.slow
def test_the_first_image_of_a_process_is_read_by_its_threads():
    """Which formats Pillow knows it finds out when it is asked first."""
    folder = write(["file,label", *["a.png,x"] * 5], {"a.png": 7})
    code = "from pathlib import Path; from lit_opt.sources import ImageTable; "
    code += f"print(len(ImageTable(cache=False).load(Path('{folder}'), 'train')[0]))"
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.check_output([sys.executable, "-c", code], env=path, text=True) == "4\n"
