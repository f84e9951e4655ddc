import errno
import io
import os
import re
import shutil
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import EpsImagePlugin, Image, ImageCms, ImageOps
from terminal import Terminal
from torchvision.transforms import v2

from lit_opt.datamodule import ImageData
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading.class_folders import class_folders
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
    (root / "train" / "dog" / ".hidden.png").write_bytes(b"no image")
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
    assert "test/dog';\neach class needs some" in error_of(ImageFolder(), root, "test")
    (root / "test" / "dog").rmdir()
    assert "test' has no class folders" in error_of(ImageFolder(), root, "test")
    (root / "test").rmdir()
    assert "test' is missing" in error_of(ImageFolder(), root, "test")


@pytest.mark.parametrize("split", ["val", "test"])
def test_unknown_class(root, split):
    write(root / split / "cow" / "a.png")
    message = error_of(ImageFolder(), root, split)
    assert f"{split}/cow' is a class that the training set doesn't have: cat, dog" in message


@pytest.fixture
def broken(root):
    """Six files of class cat, between a.png and b.PNG, that can't be read, and why."""
    good, cat = (root / "train/cat/a.png").read_bytes(), root / "train/cat"
    (cat / "a1.png").write_bytes(b"")
    (cat / "a2.png").write_bytes(b"not a png")
    (cat / "a3.png").write_bytes(good[:40])
    (cat / "a4.png").write_bytes(good[:-30])
    (cat / "a5.png").symlink_to("nowhere")
    Image.fromarray(np.ones((3, 4), np.float32)).save(cat / "a6.tif")
    reasons = [
        "empty or no image",
        "empty or no image",
        "",
        "",
        "No such file",
        "its pixels are floating-point",
    ]
    return dict(zip(sorted(path.name for path in cat.glob("a?.*")), reasons, strict=True))


def test_all_broken_images_are_named_at_once(root, broken):
    for cache in (True, False):
        message = error_of(ImageFolder(cache=cache), root)
        assert message.startswith("6 of 9 images can't be read")
        assert "--dataset.skip_broken true" in message
        for name, reason in broken.items():
            assert f"train/cat/{name}': {reason}" in message
    assert not caches(root)
    for number in range(5):
        (root / f"train/dog/{number}.jpg").touch()
    message = error_of(ImageFolder(), root)
    assert "dog/3.jpg': empty or no image and 1 more" in message
    assert "dog/4.jpg" not in message


def test_broken_images_are_left_out(root, broken, decoded, capsys):
    x, y = ImageFolder(skip_broken=True).load(root, "train")
    assert x[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert y.tolist() == [0, 0, 1]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: 6 files left out (can't be read): ")
    assert all(f"train/cat/{name}'" in line for name in broken)
    decoded.clear()
    assert all(map(torch.equal, (x, y), ImageFolder(skip_broken=True).load(root, "train")))
    assert "6 of 9 images" in error_of(ImageFolder(), root)
    assert decoded == []
    assert all(
        map(torch.equal, (x, y), ImageFolder(skip_broken=True, cache=False).load(root, "train"))
    )
    write(root / "train/cat/a1.png", value=15)  # mended
    x, y = ImageFolder(skip_broken=True).load(root, "train")
    assert x[:, 0, 0, 0].tolist() == [10, 15, 20, 30]
    (root / "train/dog/c.png").write_bytes(b"")
    message = error_of(ImageFolder(skip_broken=True), root)
    assert "no images that can be read" in message
    assert "train/dog'" in message
    for path in (root / "test").rglob("*.*"):
        path.write_bytes(b"")
    assert "3 of 3 images" in error_of(ImageFolder(skip_broken=True), root, "test")


def test_an_image_over_the_limit_of_pillow_is_named(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)  # an error from twice as many on
    message = error_of(ImageFolder(), root)
    assert "cat/a.png': Image size (12 pixels) exceeds limit of 10 pixels" in message


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_what_is_not_the_fault_of_a_file_leaves_nothing_out(root, error):
    class Fails(ImageFolder):
        def _read(self, path):
            raise error

    assert "can't read '" in error_of(Fails(skip_broken=True), root)
    assert not caches(root)


def pixel_of(root, image, channels=3, name="test/dog/z.png", background="white", **options):
    """(C, H, W) of `image` as ImageFolder reads it; `name` is its file."""
    path = root / "seen" / name
    path.parent.mkdir(parents=True)
    write(root / "seen/train/dog/a.png")
    image.save(path, **options)
    source = ImageFolder(channels=channels, background=background, cache=False)
    return source.load(root / "seen", "test")[0][0]


def corners(mode="RGB"):
    """Four colours, in an image of 3x2."""
    image = Image.new("RGB", (3, 2), (9, 9, 9))
    image.putpixel((0, 0), (255, 0, 0))
    image.putpixel((2, 0), (0, 255, 0))
    image.putpixel((0, 1), (0, 0, 255))
    return image.convert(mode)


def as_tensor(image):
    return v2.functional.pil_to_tensor(image)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "png": {}, "tif": {}}[suffix]
    seen = pixel_of(tmp_path, corners(), name=f"test/dog/a.{suffix}", exif=exif, **options)
    file = Image.open(tmp_path / f"seen/test/dog/a.{suffix}")
    assert torch.equal(seen, as_tensor(ImageOps.exif_transpose(file)))
    if orientation == 6:  # photographed with the camera turned to the left
        assert seen[:, 0].T.tolist() == [[0, 0, 255], [255, 0, 0]]


def test_orientation_of_jpegs_that_are_halved_and_of_damaged_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (128, 64), "black")
    image.paste("white", (0, 0, 64, 64))  # the left half; upright: the upper half
    for number, data in enumerate((exif.tobytes(), b"Exif\0\0garbage")):
        path = tmp_path / "train" / str(number) / "a.jpg"
        path.parent.mkdir(parents=True)
        image.save(path, exif=data, quality=95)
    (turned, _), _ = ImageFolder(8).load(tmp_path, "train")
    assert (turned[:, :3] > 250).all()
    assert (turned[:, 5:] < 5).all()


def profile_with_red_and_blue_exchanged() -> bytes:
    """Made of Pillow's sRGB: two tags of its table point to each other's primaries."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    return profile.replace(b"rXYZ", b"____").replace(b"bXYZ", b"rXYZ").replace(b"____", b"bXYZ")


def test_colours_are_those_of_the_embedded_profile(tmp_path):
    image, profile = Image.new("RGB", (2, 1), (200, 40, 10)), profile_with_red_and_blue_exchanged()
    seen = pixel_of(tmp_path, image, 3, icc_profile=profile)
    own = ImageCms.getOpenProfile(io.BytesIO(profile))
    reference = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"))
    assert reference.getpixel((0, 0)) == pytest.approx((10, 40, 200), abs=2)
    assert torch.equal(seen, as_tensor(reference))
    transparent = image.convert("RGBA")
    transparent.putpixel((0, 0), CLEAR)
    seen = pixel_of(tmp_path / "clear", transparent, 3, icc_profile=profile)
    assert seen[:, 0, 0].tolist() == [255, 255, 255]
    assert torch.equal(seen[:, :, 1], as_tensor(reference)[:, :, 1])


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L", "P"])
@pytest.mark.parametrize("damage", ["garbage", "cut", "another kind"])
def test_a_profile_that_can_not_be_used_counts_as_none(tmp_path, mode, damage):
    whole = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    profile = {"garbage": b"x" * 200, "cut": whole[:150], "another kind": whole}[damage]
    image = Image.new("RGB", (2, 1), (200, 40, 10)).convert(mode)
    name = "test/dog/a.tif"
    assert torch.equal(
        pixel_of(tmp_path / "1", image, 3, name=name, icc_profile=profile),
        pixel_of(tmp_path / "2", image, 3, name=name),
    )


RED, CLEAR = (255, 0, 0, 255), (0, 0, 0, 0)


def palette():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 10, 20, 30])
    image.putdata([0, 1])
    return image


TRANSPARENT = {
    "RGBA": (Image.new("RGBA", (2, 1), (10, 20, 30, 64)), {}),
    "LA": (Image.new("LA", (2, 1), (50, 64)), {}),
    "P with a colour": (palette(), {"transparency": 1}),
    "P with alphas": (palette(), {"transparency": bytes([255, 100])}),
    "L with a shade": (Image.new("L", (2, 1), 77), {"transparency": 77}),
    "RGB with a colour": (Image.new("RGB", (2, 1), (1, 2, 3)), {"transparency": (1, 2, 3)}),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("background", ["white", "#804020"])
@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparency(tmp_path, kind, background, channels):
    image, options = TRANSPARENT[kind]
    seen = pixel_of(tmp_path, image, channels, background=background, **options)
    rgba = Image.open(tmp_path / "seen/test/dog/z.png").convert("RGBA")
    behind = Image.new("RGBA", rgba.size, background)
    reference = Image.alpha_composite(behind, rgba).convert("RGB" if channels == 3 else "L")
    assert torch.equal(seen, as_tensor(reference))
    assert behind.tobytes() != rgba.tobytes()


def test_a_gif_shows_its_first_frame_over_the_background(tmp_path):
    frames = [Image.new("RGBA", (2, 1), colour) for colour in (RED, (0, 0, 255, 255))]
    frames[0].putpixel((1, 0), CLEAR)
    seen = pixel_of(
        tmp_path, frames[0], name="test/dog/a.gif", save_all=True, append_images=frames[1:]
    )
    assert seen[:, 0].T.tolist() == [[255, 0, 0], [255, 255, 255]]
    with pytest.raises(UserError, match=r"background 'whyte' is no colour"):
        ImageFolder(background="whyte")


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_are_scaled(tmp_path, suffix):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    seen = pixel_of(tmp_path, Image.fromarray(values), 1, name=f"test/dog/a.{suffix}")
    assert seen.flatten().tolist() == [0, 1, 128, 255]


def test_16_bits_where_0_is_white(tmp_path):
    values = Image.fromarray(np.array([[0, 65535]], np.uint16))
    seen = pixel_of(tmp_path, values, 1, name="test/dog/a.tif", tiffinfo={262: 0})
    assert seen.flatten().tolist() == [255, 0]


def test_an_eps_file_of_another_name_is_not_run(root, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: pytest.fail("was run"))
    Image.new("RGB", (4, 3)).save(root / "train/cat/a.eps")
    (root / "train/cat/a.eps").rename(root / "train/cat/z.png")
    assert "z.png': empty or no image" in error_of(ImageFolder(), root)


def test_16_bits_with_a_transparent_shade(tmp_path):
    values = np.array([[300, 301]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    png = (tmp_path / "a.png").read_bytes()
    chunk = b"tRNS" + struct.pack(">H", 300)
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path = tmp_path / "train/cat/a.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(png[:33] + chunk + png[33:])  # behind the header
    assert ImageFolder().load(tmp_path, "train")[0][0, 0].tolist() == [[255, 1]]


# Pillow before 13 can't read the YCbCr that it writes.
MODES = ["1", "L", "P", "CMYK", *["YCbCr"] * (int(PIL.__version__.split(".")[0]) >= 13)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_modes(tmp_path, mode, channels):
    image = corners().convert(mode)
    seen = pixel_of(tmp_path, image, channels, name="test/dog/a.tif")
    assert torch.equal(seen, as_tensor(image.convert("RGB" if channels == 3 else "L")))


def test_lab(tmp_path):
    """Lightness 100 is white, 53.6 the middle of sRGB's greys (CIE 15)."""
    image = Image.new("LAB", (2, 1), (255, 128, 128))
    image.putpixel((1, 0), (137, 128, 128))
    seen = pixel_of(tmp_path, image, name="test/dog/a.tif").int()
    assert (seen - torch.tensor([[255, 128]])).abs().max() <= 1


def test_sub_folders_and_suffixes(tmp_path, capsys):
    for number, name in enumerate(
        ("a.jfif", "b.JPE", "c/d/e.png", "f.webp", "folder.png/g.bmp", "h.avif", "i.jp2")
    ):
        path = tmp_path / "train" / "cat" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number * 30,) * 3).save(path)
    for name in (".DS_Store", "._a.png", ".thumbnails/a.png", "__MACOSX/a.png"):
        write(tmp_path / "train" / "cat" / "x.png")
        hidden = tmp_path / "train/cat" / name
        hidden.parent.mkdir(exist_ok=True)
        (tmp_path / "train/cat/x.png").rename(hidden)
    write(tmp_path / "train/__MACOSX/cat/a.png")
    capsys.readouterr()
    x, _ = ImageFolder().load(tmp_path, "train")
    assert (x[:, 0, 8, 8].int() - 30 * torch.arange(7)).abs().max() <= 3
    assert capsys.readouterr().err == ""


def test_files_that_are_no_images_are_told_once(root, capsys):
    names = ["cat/Thumbs.db", "cat/b.svg", "cat/c.pdf", "cat/d.eps", "cat/sub/e.h5", "top.png"]
    for name in names:
        path = root / "train" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    os.mkfifo(root / "train/dog/pipe.png")  # would be waited for
    for _ in range(2):
        assert len(ImageFolder().load(root, "train")[0]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: 7 files left out (not an image): ")
    assert all(f"train/{name}'" in line for name in [*names, "dog/pipe.png"])


def test_links_in_a_circle_end(root):
    for number in range(3):
        folder = root / "train/cat" / f"sub{number}"
        write(folder / "a.png")
        (folder / "up").symlink_to(root / "train/cat")
        (folder / "top").symlink_to(root)
        (folder / "aside").symlink_to(root / "train/cat" / f"sub{(number + 1) % 3}")
    (root / "elsewhere").mkdir()
    (root / "train/dog").rename(root / "elsewhere/dog")
    (root / "train/dog").symlink_to(root / "elsewhere/dog")
    assert ImageFolder().load(root, "train")[1].tolist() == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("split", "name"),
    [("val", "valid"), ("val", "validation"), ("val", "Val"), ("train", "Training")],
)
def test_usual_names_of_splits(root, split, name):
    (root / "test").rename(root / ("TESTING" if split == "train" else "test"))
    write(root / "val/dog/v.png")
    (root / split).rename(root / name)
    assert ImageFolder().load(root, "val")[1].tolist() == [1]
    assert ImageFolder().load(root, "test")[1].tolist() == [0, 0, 1]
    (root / split).mkdir()
    message = error_of(ImageFolder(), root, split)
    assert all(f"{each}'" in message for each in (name, split))


def test_class_names(root):
    for split, name in (("train", "caf\u00e9 "), ("test", "cafe\u0301 ")):
        write(root / split / name / "a.png")
    (root / "test/cat").rename(root / "cat")
    (root / "test/cat").mkdir()  # lacks images, as the test set may
    source = ImageFolder()
    assert source.load(root, "test")[1].tolist() == [0, 2]
    assert source.classes == ["caf\u00e9 ", "cat", "dog"]
    (root / "train/empty").mkdir()
    assert "train/empty'" in error_of(source, root)


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
    monkeypatch.setattr(
        Image, "open", lambda path, **kw: names.append(path.name) or real(path, **kw)
    )
    return names


def test_without_folders_of_splits_every_fifth_of_each_class_is_a_test_sample(tmp_path):
    for name, count in (("b", 10), ("a", 5)):
        for k in range(count):
            write(tmp_path / name / f"{k}.png", value=10 * k)
    source = ImageFolder()
    (train, y), (test, labels) = source.load(tmp_path, "train"), source.load(tmp_path, "test")
    assert source.load(tmp_path, "val") is None
    assert source.classes == ["a", "b"]
    assert (test[:, 0, 0, 0].tolist(), labels.tolist()) == ([40, 40, 90], [0, 1, 1])
    assert train[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 0, 10, 20, 30, 50, 60, 70, 80]
    assert y.tolist() == [0] * 4 + [1] * 8


@pytest.mark.parametrize("below", ["", "test", "some/where"])
def test_what_is_predicted_needs_no_class(root, tmp_path, below):
    new = tmp_path / "new"
    for k in range(3):
        write(new / below / f"{k}.png", value=10 * k)
    source = ImageFolder(cache=False)
    source.known_classes, source.labelled = ["cat", "dog"], False
    x, _ = source.load(new, "test")
    assert x[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert source.files == [str(new / below / f"{k}.png") for k in range(3)]
    x, y = source.load(root, "test")  # where there are classes, in their order
    assert (x[:, 0, 0, 0].tolist(), y.tolist()) == ([10, 20, 30], [0, 0, 1])
    source.labelled = True
    error_of(source, new, "test")


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
        lambda folder: (folder / "b").mkdir() or (folder / "a.png").rename(folder / "b/a.png"),
        lambda folder: (folder / "a.png").rename(folder.parent / "dog" / "a.png"),
    ],
    ids=["changed", "added", "touched", "removed", "renamed", "lowered", "moved"],
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


def test_decoded_again_over_another_background(root):
    Image.new("RGBA", (4, 3), CLEAR).save(root / "train/cat/a.png")
    for _ in range(2):
        for background, value in (("white", 255), ("black", 0)):
            x, _ = ImageFolder(background=background).load(root, "train")
            assert (x[0] == value).all()


def test_decoded_again_when_the_reading_changes(root):
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


def test_a_line_where_there_is_a_terminal(root, monkeypatch):
    monkeypatch.setattr("lit_opt.engine.base.terminal.WAIT", 0)
    read = ImageFolder._read
    monkeypatch.setattr(ImageFolder, "_read", lambda *args: time.sleep(0.1) or read(*args))
    terminal = Terminal(monkeypatch)
    ImageFolder().load(root, "train")
    assert any(re.match(r"decoding images, \d of 3", text) for text in terminal.drawn)
    assert terminal.screen() == []


def test_a_folder_name_that_is_no_utf8_is_a_class_name_that_can_be_written(tmp_path):
    """As zip files of other systems leave it, and as every umlaut looks in an ASCII locale."""
    for name in (b"K\xe4fer", b"M\xc3\xa4use"):
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/train/" + name))
        write(folder / "a.png")
    assert [name for name, _ in class_folders(tmp_path, "train")] == ["K\ufffdfer", "Mäuse"]
