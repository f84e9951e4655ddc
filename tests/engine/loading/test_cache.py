import os
import resource
import shutil
import signal
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_opt.engine.errors import UserError
from lit_opt.engine.loading.cache import cached
from lit_opt.engine.loading.loader import Batches

DATA = torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).view(4, 3, 2, 2)
fork = get_context("fork")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="fork, /proc"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def rows(data=DATA):
    yield from data.numpy()


def never():
    raise AssertionError("decoded again")
    yield


def build(folder, key="k", make=rows):
    return cached([folder], "train", key, len(DATA), make)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_stale_file_goes_once_the_new_one_is_whole(tmp_path):
    old = build(tmp_path)
    cached([tmp_path], "test", "k", len(DATA), rows)

    def fails():
        yield DATA[0].numpy()
        raise UserError("a corrupt image")

    with pytest.raises(UserError, match="a corrupt image"):
        build(tmp_path, "k2", fails)
    assert files(tmp_path) == ["lock", "test-k.npy", "train-k.npy"]
    build(tmp_path, "k2")
    assert files(tmp_path) == ["lock", "test-k.npy", "train-k2.npy"]
    assert torch.equal(old, DATA)  # still mapped


@pytest.mark.parametrize("content", [b"", b"junk", None], ids=["empty", "junk", "cut short"])
def test_a_damaged_file_is_built_again(tmp_path, content):
    build(tmp_path)
    file = tmp_path / "train-k.npy"
    file.write_bytes(file.read_bytes()[:-1] if content is None else content)
    assert torch.equal(build(tmp_path), DATA)


def test_a_folder_that_has_it_needs_no_writing(tmp_path):
    build(tmp_path / "a")
    (tmp_path / "a" / "lock").unlink()
    assert torch.equal(cached([tmp_path / "b", tmp_path / "a"], "train", "k", 4, never), DATA)
    assert files(tmp_path / "a") == ["train-k.npy"]
    (tmp_path / "file").touch()
    assert build(tmp_path / "file") is None


def builder(folder, wait=True):
    """A process that builds, 0.2 s a row; it has begun if `wait`."""
    decoded = fork.Semaphore(0)

    def slow():
        for row in DATA.numpy():
            yield row
            decoded.release()
            time.sleep(0.2)

    process = fork.Process(target=build, kwargs={"folder": folder, "make": slow})
    process.start()
    assert not wait or decoded.acquire(timeout=10)
    return process


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_a_killed_builder_leaves_nothing_behind(tmp_path):
    kill(builder(tmp_path))
    assert [name.partition(".")[2] for name in files(tmp_path)].count("tmp") == 1
    assert torch.equal(build(tmp_path), DATA)
    assert files(tmp_path) == ["lock", "train-k.npy"]


def test_of_two_builders_one_waits_for_the_other(tmp_path):
    process = builder(tmp_path)
    assert not (tmp_path / "train-k.npy").exists()
    assert torch.equal(build(tmp_path, make=never), DATA)
    process.join()
    assert process.exitcode == 0


def test_a_builder_takes_over_from_one_that_is_killed(tmp_path):
    first, second = builder(tmp_path), builder(tmp_path, wait=False)
    time.sleep(0.1)
    kill(first)
    second.join()
    assert second.exitcode == 0
    assert torch.equal(build(tmp_path, make=never), DATA)


def test_a_disk_that_is_full_at_once_or_in_the_middle(tmp_path, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, limits[1]))  # bytes; the header takes 128
    try:
        with pytest.raises(UserError, match=r"File too large;\nfree space .*--dataset.cache false"):
            build(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 53, 47))
        with pytest.raises(UserError, match="48 bytes don't fit"):
            build(tmp_path)
    assert files(tmp_path) == ["lock"]


def anonymous_memory():
    """Bytes that are this process's own, not a file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def test_memory_stays_flat(tmp_path):
    N, image = 10_000, np.full((3, 50, 50), 7, np.uint8)  # 75 MB
    before = anonymous_memory()
    x = cached([tmp_path], "train", "k", N, lambda: (image for _ in range(N)))
    peak = 0
    for start in range(0, N, 100):
        batch, _ = Batches(x, torch.zeros(N)).__getitems__(list(range(start, start + 100)))
        assert (batch == 7).all()
        peak = max(peak, anonymous_memory() - before)
    assert peak < x.nbytes / 10
    assert "train-k.npy" in Path("/proc/self/maps").read_text()
