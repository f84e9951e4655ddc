"""Files that a user may not read or write are named, and nothing is lost."""

import ctypes
import os
import shutil
import sys
import traceback
from pathlib import Path

import pytest
from conftest import main
from digits_as_files import write

FEW = ["--epochs=1", "--limit_train_batches=2", "--limit_val_batches=1", "--no_test"]
IMAGES = ["--dataset=ImageFolder", "--data_dir=images", "--dataset.cache=false"]


def give_up_root() -> None:
    """From here on the rights of files hold for root as well: capset(2) without any capability."""
    version_3, this_process, none = 0x20080522, 0, 0
    header = (ctypes.c_uint32 * 2)(version_3, this_process)
    if ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)(*[none] * 6)):
        raise OSError("capset failed")


def without_rights(words: list[str]) -> tuple[int, str]:
    """Status and stderr of a command that the rights of files hold for, run in a fork."""
    errors = Path("errors")
    child = os.fork()
    if child == 0:
        code = 70
        with errors.open("w") as sys.stderr:
            sys.stdout = sys.stderr
            try:
                give_up_root()
                main(words)
                code = 0
            except SystemExit as left:
                code = int(left.code or 0)
            except BaseException:
                traceback.print_exc()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), errors.read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="capset is Linux's")
def test_what_can_not_be_read_or_written_is_named(run):
    write(Path("images"))
    shutil.rmtree("images/test")
    Path("closed").mkdir()
    run(*FEW, *IMAGES, "--name=images")
    run(*FEW, "--name=mine")
    image = next(Path("images/train/3").glob("*.png"))
    Path("secret.yaml").write_text("lr: 0.1\n")
    before = {path: path.read_bytes() for path in Path("runs/mine").rglob("*") if path.is_file()}
    for path in (image, Path("secret.yaml")):
        path.chmod(0)
    for path in (*before, *{path.parent for path in before}, Path("closed")):
        path.chmod(0o444 if path.is_file() else 0o555)
    for words, told in (
        (["--config=secret.yaml"], "secret.yaml"),
        ([*IMAGES, *FEW, "--name=again"], image.name),
        ([*FEW, "--default_root_dir=closed", "--name=other"], "can't write to 'closed/runs/other'"),
        (["--name=mine", "--resume", "--epochs=2"], "runs/mine"),
    ):
        code, told_of = without_rights(words)
        assert code == 2, told_of
        error = told_of[told_of.index("error: ") :]
        assert told in error
        assert len(error.strip().splitlines()) <= 4
        assert "Traceback" not in told_of
    assert all(path.read_bytes() == content for path, content in before.items())
