import errno
import os
import resource
import signal
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading.batches import Batches
from lit_opt.engine.loading.cache import cached, in_memory

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
    found = cached([folder], "train", key, len(DATA), make)
    return found and found[0]


def test_missing_rows_are_remembered(tmp_path):
    def some():
        yield "cut short"
        yield DATA[1].numpy()
        yield "no image: \udcff"
        yield DATA[3].numpy()

    for make in (some, never):
        x, missing = cached([tmp_path], "train", "k", 4, make)
        assert torch.equal(x, DATA[[1, 3]])
        assert missing == {0: "cut short", 2: "no image: \udcff"}
    assert np.array_equal(np.load(tmp_path / "train-k.npy"), DATA[[1, 3]])  # still a .npy file
    x, missing = in_memory(some())
    assert torch.equal(x, DATA[[1, 3]])
    assert set(missing) == {0, 2}


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
    assert torch.equal(cached([tmp_path / "b", tmp_path / "a"], "train", "k", 4, never)[0], DATA)
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


def test_a_disk_that_is_full_is_told_before_anything_is_decoded(tmp_path):
    decoded = []

    def counted():
        for row in DATA.numpy():
            decoded.append(1)
            yield row

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, limits[1]))  # bytes; the header takes 128
    try:
        with pytest.raises(
            UserError, match=r"too large for 48 bytes;\nfree .*--dataset.cache false"
        ):
            build(tmp_path, make=counted)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(decoded) == 1  # its shape is needed
    assert files(tmp_path) == ["lock"]


@pytest.mark.parametrize("unsupported", [errno.EOPNOTSUPP, errno.ENOSPC, None])
def test_a_file_system_that_cannot_reserve_space(tmp_path, monkeypatch, unsupported):
    def fails(*arguments):
        raise OSError(unsupported, "No space left on device")

    if unsupported is None:  # as on macOS
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", fails)
    if unsupported == errno.ENOSPC:
        with pytest.raises(UserError, match="No space left on device for 48 bytes"):
            build(tmp_path)
    else:
        assert torch.equal(build(tmp_path), DATA)


def anonymous_memory():
    """Bytes that are this process's own, not a file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def test_memory_stays_flat(tmp_path):
    N, image = 10_000, np.full((3, 50, 50), 7, np.uint8)  # 75 MB
    before = anonymous_memory()
    x, _ = cached([tmp_path], "train", "k", N, lambda: (image for _ in range(N)))
    peak = 0
    for start in range(0, N, 100):
        batch, _ = Batches(x, torch.zeros(N)).__getitems__(list(range(start, start + 100)))
        assert (batch == 7).all()
        peak = max(peak, anonymous_memory() - before)
    assert peak < x.nbytes / 10
    assert "train-k.npy" in Path("/proc/self/maps").read_text()
