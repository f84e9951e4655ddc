"""torchvision's layouts are written here, tiny; nothing is downloaded."""

import hashlib
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

import lit_opt.sources as data
from lit_opt.datamodule import ImageData
from lit_opt.engine.base.errors import UserError
from lit_opt.sources import EMNIST, Source


@pytest.fixture
def offline(monkeypatch):
    def fail(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", fail)


def digest(*tensors):
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest()[:16]


def test_digits_split_never_changes():
    source = data.Digits()
    x, y = source.load(Path(), "train")
    xt, yt = source.load(Path(), "test")
    assert (x.shape, xt.shape) == ((1438, 1, 8, 8), (359, 1, 8, 8))
    assert (x.dtype, y.dtype, int(x.max())) == (torch.uint8, torch.int64, 255)
    assert all(35 <= n <= 37 for n in yt.bincount())
    assert source.load(Path(), "val") is None
    assert digest(x, y, xt, yt) == "d772aa556fc2f547"


def test_diabetes_split_never_changes():
    x, y = data.Diabetes().load(Path(), "train")
    xt, yt = data.Diabetes().load(Path(), "test")
    assert (x.shape, y.shape, xt.shape, yt.shape) == ((354, 10), (354, 1), (88, 10), (88, 1))
    progression = (torch.cat([y, yt]) * 77 + 152).round()
    assert (progression.min(), progression.max()) == (25, 346)
    assert digest(progression.short(), (xt[:, 0] * 10).round().short()) == "ff632c5ec7081a92"


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_mnist(raw: Path, train: str = "train", test: str = "t10k", first_label: int = 0):
    """Pixel value 10 * image + row; returns train's images (N, 28, 28)."""
    for prefix, n in ((train, 12), (test, 5)):
        images = 10 * np.arange(n)[:, None, None] + np.arange(28)[:, None] + np.zeros((28, 28))
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", np.arange(n) % 3 + first_label)
    rows = 10 * torch.arange(12)[:, None, None] + torch.arange(28)[:, None]
    return rows.expand(12, 28, 28)


SPLITS = ("balanced", "letters", "byclass", "bymerge", "digits", "mnist")
LIKE_MNIST = [data.MNIST(), data.FashionMNIST(), data.KMNIST(), *map(EMNIST, SPLITS)]


@pytest.mark.parametrize("source", LIKE_MNIST, ids=[*"MFK", *SPLITS])
def test_mnist_layout(source, tmp_path, offline):
    """EMNIST's images lie on their side, and its letters count from 1."""
    split = getattr(source, "split", None)
    files = [f"emnist-{split}-train", f"emnist-{split}-test"] if split else ["train", "t10k"]
    folder = tmp_path / type(source).__name__ / "raw"
    images = write_mnist(folder, *files, first_label=int(split == "letters"))
    source.download(tmp_path)
    x, y = source.load(tmp_path, "train")
    assert torch.equal(x, (images.mT if split else images)[:, None].to(torch.uint8))
    assert x.is_contiguous()
    assert y.tolist() == [0, 1, 2] * 4
    assert len(source.load(tmp_path, "test")[0]) == 5
    assert source.load(tmp_path, "val") is None
    assert len(source.classes) == source.num_classes
    if split:
        assert source.classes[0] == ("a" if split == "letters" else "0")


@pytest.mark.parametrize(("name", "n_classes"), [("CIFAR10", 10), ("CIFAR100", 100)])
def test_cifar_layout(name, n_classes, tmp_path, offline, monkeypatch):
    from torchvision.datasets import cifar

    monkeypatch.setattr(cifar, "check_integrity", lambda path, md5=None: Path(path).is_file())
    layout = getattr(cifar, name)
    folder = tmp_path / layout.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    key = "labels" if name == "CIFAR10" else "fine_labels"
    pixels = []
    for file, _ in layout.train_list + layout.test_list:
        pixels.append(rng.integers(0, 256, (4, 3072), dtype=np.uint8))
        (folder / file).write_bytes(pickle.dumps({"data": pixels[-1], key: [0, 1, 2, 9]}))
    names = [f"name {i}" for i in range(n_classes)]
    (folder / layout.meta["filename"]).write_bytes(pickle.dumps({layout.meta["key"]: names}))

    source = getattr(data, name)()
    source.download(tmp_path)
    x, y = source.load(tmp_path, "train")
    expected = np.concatenate(pixels[:-1]).reshape(-1, 3, 32, 32)
    assert torch.equal(x, torch.from_numpy(expected))
    assert y.tolist() == [0, 1, 2, 9] * len(layout.train_list)
    assert source.load(tmp_path, "test")[0].shape == (4, 3, 32, 32)
    assert source.num_classes == len(source.classes) == n_classes


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST", "EMNIST", "CIFAR10"])
def test_missing_files_offline(name, tmp_path, offline):
    source = getattr(data, name)()
    for read in (source.download, lambda path: source.load(path, "train")):
        with pytest.raises(UserError, match=f"{name} isn't complete in '{tmp_path}") as error:
            read(tmp_path)
        assert "--data_dir" in str(error.value)
        assert source.folder in str(error.value)
        assert len(str(error.value).splitlines()) <= 4


def test_a_truncated_file_and_a_source_without_load(tmp_path, offline):
    write_mnist(tmp_path / "MNIST/raw")
    file = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"MNIST isn't complete in .* \(shape .* is invalid"):
        data.MNIST().load(tmp_path, "train")
    with pytest.raises(NotImplementedError, match=r"must override load\(\)"):
        Source().load(tmp_path, "train")


def test_shape_and_classes_are_known_before_any_file(tmp_path, offline):
    known = {
        "Digits": ((1, 8, 8), 10),
        **dict.fromkeys(("MNIST", "FashionMNIST", "KMNIST"), ((1, 28, 28), 10)),
        "EMNIST": ((1, 28, 28), 47),
        "CIFAR10": ((3, 32, 32), 10),
        "CIFAR100": ((3, 32, 32), 100),
        "Diabetes": ((10,), 1),
    }
    for name, expected in known.items():
        dm = ImageData(getattr(data, name)(), data_dir=str(tmp_path / "none"))
        assert (dm.in_shape, dm.num_classes) == expected, name
