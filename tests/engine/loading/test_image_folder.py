import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from lit_opt.datamodule import ImageData
from lit_opt.engine.errors import UserError
from lit_opt.engine.loading.image_folder import CACHE
from lit_opt.sources import ImageFolder


def write(path: Path, width: int = 4, height: int = 3, value: int | None = 100):
    """Returns the pixels (H, W, 3), random ones if `value` is None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if value is not None:
        pixels[:] = value
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def root(tmp_path):
    """Splits train and test with classes cat (2 images each) and dog (1)."""
    for split in ("train", "test"):
        write(tmp_path / split / "dog" / "c.png", value=30)
        write(tmp_path / split / "cat" / "b.PNG", value=20)
        write(tmp_path / split / "cat" / "a.png", value=10)
    return tmp_path


def caches(root, pattern="*-*"):
    return sorted(path.name for path in (root / CACHE).glob(pattern))


def error_of(source, root, split="train"):
    with pytest.raises(UserError) as error:
        source.load(root, split)
    assert len(str(error.value).splitlines()) <= 4
    return str(error.value)


def test_order_labels_and_pixels(root):
    pixels = write(root / "train" / "dog" / "d.png", value=None)
    for junk in (".hidden.png", "notes.txt", "Thumbs.db"):
        (root / "train" / "dog" / junk).write_bytes(b"no image")
    (root / "train" / ".ipynb_checkpoints").mkdir()
    source = ImageFolder()
    x, y = source.load(root, "train")
    assert (x.dtype, x.shape) == (torch.uint8, (4, 3, 3, 4))
    assert y.tolist() == [0, 0, 1, 1]
    assert x[:3, 0, 0, 0].tolist() == [10, 20, 30]
    assert torch.equal(x[3], torch.from_numpy(pixels).permute(2, 0, 1))
    assert source.classes == ["cat", "dog"]
    assert source.load(root, "val") is None


@pytest.mark.parametrize(("width", "height"), [(30, 10), (10, 26), (7, 7)])
def test_resizing_equals_torchvision(tmp_path, width, height):
    write(tmp_path / "train/cat/a.png", width, height, None)
    x, _ = ImageFolder(image_size=5).load(tmp_path, "train")
    resize = v2.Compose([v2.Resize(5), v2.CenterCrop(5), v2.PILToTensor()])
    reference = resize(Image.open(tmp_path / "train/cat/a.png"))
    assert (x[0].int() - reference.int()).abs().max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_large_jpegs_are_halved_while_decoding_and_look_the_same(tmp_path, channels):
    y, x = np.mgrid[:90, :120]
    pixels = np.stack([x * 2, y * 2, x + y], -1).astype(np.uint8)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    for name in ("a.jpg", "b.png"):  # only JPEGs can be
        Image.fromarray(pixels).save(tmp_path / "train" / "cat" / name, quality=95)
    (jpeg, png), _ = ImageFolder(image_size=16, channels=channels).load(tmp_path, "train")
    assert (jpeg.int() - png.int()).abs().max() <= 3


def test_in_the_data_module(root):
    write(root / "val" / "dog" / "v.png")
    dm = ImageData(ImageFolder(), data_dir=str(root), normalize=False, val_fraction=0.0)
    assert (dm.in_shape, dm.num_classes, dm.class_names) == ((3, 3, 4), 2, ["cat", "dog"])
    dm.setup("fit")
    assert len(dm.train_dataloader().dataset) == 3  # nothing is cut: there is a val folder
    assert dm.has_validation
    assert [y.tolist() for _, y in dm.val_dataloader()] == [[1]]
    assert ImageData(ImageFolder(image_size=9, channels=1)).in_shape == (1, 9, 9)


def test_missing_root_and_split_and_unknown_class(root, tmp_path):
    for split in ("val", "test"):
        write(root / split / "cow" / "a.png")
        told = f"{split}/cow' is a class that the training set doesn't have: cat, dog"
        assert told in error_of(ImageFolder(), root, split)
        shutil.rmtree(root / split / "cow")
    message = error_of(ImageFolder(), tmp_path / "nowhere")
    for part in ("nowhere/train' is missing", "{train,val,test}/<class>/<image", "--data_dir"):
        assert part in message
    for path in (root / "test").rglob("*.*"):
        path.unlink()
    (root / "test" / "cat").rmdir()
    assert "test/dog' has no images" in error_of(ImageFolder(), root, "test")
    (root / "test" / "dog").rmdir()
    assert "test' has no class folders" in error_of(ImageFolder(), root, "test")
    (root / "test").rmdir()
    assert "test' is missing" in error_of(ImageFolder(), root, "test")


def test_corrupt_images(root):
    good = (root / "train/cat/a.png").read_bytes()
    bad = root / "train/cat/bad.png"
    for content in (b"", b"not a png", good[:40], good[:-30]):
        bad.write_bytes(content)
        assert "train/cat/bad.png'" in error_of(ImageFolder(), root)
        assert not caches(root)
    Image.fromarray(np.full((3, 4), 3000, np.uint16)).save(bad)  # not clipped
    assert "bad.png': it has more than 8 bits" in error_of(ImageFolder(), root)
    bad.unlink()
    bad.symlink_to("nowhere")
    assert "train/cat/bad.png': [Errno 2]" in error_of(ImageFolder(), root)


def test_differing_sizes(root):
    write(root / "train/dog/wide.png", width=9, height=8)
    message = error_of(ImageFolder(), root)
    assert "train/cat/a.png' is 4x3" in message
    assert "train/dog/wide.png' is 9x8 pixels; set --dataset.image_size" in message
    assert ImageFolder(image_size=3).load(root, "train")[0].shape == (4, 3, 3, 3)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that Pillow opens."""
    names = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda path: names.append(path.name) or real(path))
    return names


def test_images_are_decoded_once(root, decoded):
    x, y = ImageFolder().load(root, "train")
    assert sorted(decoded) == ["a.png", "b.PNG", "c.png"]
    for cache, count in ((True, 3), (False, 6)):
        again = ImageFolder(cache=cache).load(root, "train")
        assert len(decoded) == count
        assert all(map(torch.equal, (x, y), again))
    assert len(caches(root)) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: write(folder / "a.png", value=None),
        lambda folder: write(folder / "new.png"),
        lambda folder: os.utime(folder / "a.png", ns=(0, 1)),
        lambda folder: (folder / "a.png").unlink(),
        lambda folder: (folder / "a.png").rename(folder / "z.png"),
        lambda folder: (folder / "a.png").rename(folder.parent / "dog" / "a.png"),
    ],
    ids=["changed", "added", "touched", "removed", "renamed", "moved"],
)
def test_decoded_again_when_files_change(root, decoded, change):
    ImageFolder().load(root, "train")
    stale = caches(root)
    change(root / "train" / "cat")
    decoded.clear()
    x, y = ImageFolder().load(root, "train")
    assert len(decoded) == len(x)
    assert all(map(torch.equal, (x, y), ImageFolder(cache=False).load(root, "train")))
    assert len(caches(root)) == 1
    assert caches(root) != stale


def test_each_size_mode_and_way_of_reading_has_a_cache(root):
    for _ in range(2):
        assert ImageFolder(2).load(root, "train")[0].shape == (3, 3, 2, 2)
        assert ImageFolder(3).load(root, "train")[0].shape == (3, 3, 3, 3)
        assert ImageFolder(3, channels=1).load(root, "train")[0].shape == (3, 1, 3, 3)
    assert len(caches(root, "train-*.npy")) == 3
    for arguments in ({"image_size": 0}, {"channels": 2}):
        with pytest.raises(UserError, match="image_size must be at least 1"):
            ImageFolder(**arguments)

    class Dark(ImageFolder):
        def _read(self, path):
            return super()._read(path) // 2

    x, _ = ImageFolder().load(root, "train")
    assert torch.equal(Dark().load(root, "train")[0], x // 2)


def test_a_folder_that_cannot_be_written(root, decoded):
    (root / CACHE).write_text("a file, so no folder can be made (root may write everywhere)")
    (root / "project").mkdir()
    os.chdir(root / "project")
    for _ in range(2):
        x, _ = ImageFolder().load(root, "train")
    assert len(decoded) == len(x)
    assert len(list(Path(CACHE).rglob("train-*.npy"))) == 1
    os.chdir(root)  # where it can't be written either
    assert torch.equal(ImageFolder().load(root, "train")[0], x)
    assert len(decoded) == 2 * len(x)


def test_a_bar_where_there_is_a_terminal(root, monkeypatch, capsys):
    for split, terminal in (("train", True), ("test", False)):
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal)
        ImageFolder().load(root, split)
        out, err = capsys.readouterr()
        assert out == ""
        assert ("decoding 3 images" in err) if terminal else err == ""
