"""Files that a user may not read or write are named, and nothing is lost."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from conftest import main
from digits_as_files import write

NOBODY = 65534
FEW = ["--epochs=1", "--limit_train_batches=2", "--limit_val_batches=1", "--no_test"]
IMAGES = ["--dataset=ImageFolder", "--data_dir=images", "--dataset.cache=false"]


def as_nobody(words: list[str]) -> tuple[int, str]:
    """Status and stderr of a command, by a user without rights here, in a fork of this process."""
    errors = Path("home/errors")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setegid(NOBODY)
            os.seteuid(NOBODY)
            os.environ["XDG_STATE_HOME"] = os.environ["HOME"] = str(Path("home").absolute())
            sys.stdout = sys.stderr = errors.open("w")
            main(words)
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), errors.read_text()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="root becomes nobody")
def test_what_can_not_be_read_or_written_is_named(run, tmp_path):
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    Path("home").mkdir()
    Path("home").chmod(0o777)
    write(Path("images"))
    shutil.rmtree("images/test")
    run(*FEW, *IMAGES, "--name=images")  # imports what nobody may not read
    run(*FEW, "--name=mine")
    image = next(Path("images/train/3").glob("*.png"))
    Path("secret.yaml").write_text("lr: 0.1\n")
    for path in (image, Path("secret.yaml")):
        path.chmod(0o600)
    before = {path: path.read_bytes() for path in Path("runs/mine").rglob("*") if path.is_file()}
    for words, told in (
        (["--config=secret.yaml"], "secret.yaml"),
        ([*IMAGES, *FEW, "--default_root_dir=home"], image.name),
        ([*FEW, "--name=other"], "runs/other"),
        (["--name=mine", "--resume", "--epochs=2"], "runs/mine"),
    ):
        code, told_of = as_nobody(words)
        assert code == 2, told_of
        error = told_of[told_of.index("error: ") :]
        assert told in error
        assert len(error.strip().splitlines()) <= 4
        assert "Traceback" not in told_of
    assert all(path.read_bytes() == content for path, content in before.items())
