"""A checkpoint file is whole, or its fault is named; its code is never run."""

import pickle
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lit_opt.engine.base.errors import RunError, UserError
from lit_opt.engine.runs.checkpoint_file import SafeCheckpointIO, fault, newest_valid, use_safe_io

IO = SafeCheckpointIO()
LAST, PREVIOUS = Path("run/last.ckpt"), Path("run/previous.ckpt")
WEIGHT = torch.arange(50.0).numpy().tobytes()


def state(epoch: int = 0, size: int = 50) -> dict[str, Any]:
    weights = {"weight": torch.arange(float(size)), "bias": torch.ones(3)}
    return {"state_dict": weights, "epoch": epoch, "pytorch-lightning_version": "2.6.6"}


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    weights = [checkpoint["state_dict"] for checkpoint in (a, b)]
    same = all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    return same and a | {"state_dict": 0} == b | {"state_dict": 0}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rewrite(path: Path, change: Any) -> None:
    path.write_bytes(change(bytearray(path.read_bytes())))


def flip(content: bytearray, position: int, bit: int = 0) -> bytearray:
    content[position] ^= 1 << bit
    return content


class Code:
    """Makes a file `ran` when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_what_is_saved_is_loaded_by_this_lightning_and_torch():
    IO.save_checkpoint(state(3), LAST)
    for loaded in (IO.load_checkpoint(LAST), TorchCheckpointIO().load_checkpoint(LAST)):
        assert equal(loaded, state(3))
    assert names(Path("run")) == ["last.ckpt"]


def fold(path: Path) -> None:
    path.unlink()
    path.mkdir()


# What happens to a whole checkpoint, and what is told of it.
FAULTS = {
    "cut short": (lambda path: rewrite(path, lambda content: content[:500]), "cut short"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "flipped bit": (
        lambda path: rewrite(path, lambda content: flip(content, content.index(WEIGHT) + 99)),
        "changed",
    ),
    "text": (lambda path: path.write_text("lr: 0.1\n"), "never a checkpoint"),
    "code": (lambda path: torch.save(state() | {"state_dict": Code()}, path), "class or function"),
    "pickle with code": (lambda path: path.write_bytes(pickle.dumps(Code())), "never a checkpoint"),
    "weights": (lambda path: torch.save(state()["state_dict"], path), "plain weights"),
    "folder": (fold, "directory"),
    "absent": (Path.unlink, "No such file"),
}


@pytest.mark.parametrize(("damage", "told"), FAULTS.values(), ids=FAULTS)
def test_a_damaged_file_is_refused_by_name_and_fault(damage, told):
    IO.save_checkpoint(state(), LAST)
    damage(LAST)
    with pytest.raises(UserError, match=f"'{LAST}' can't be used as a checkpoint: .*{told}"):
        IO.load_checkpoint(LAST, weights_only=False)
    assert not Path("ran").exists()


def test_the_code_would_have_run():
    torch.save(state() | {"state_dict": Code()}, Path("code"))
    torch.load("code", weights_only=False)
    assert Path("ran").exists()


def test_a_flipped_bit_is_found_or_changes_nothing():
    IO.save_checkpoint(state(), LAST)
    content, found = LAST.read_bytes(), 0
    positions = range(0, len(content), 5)
    for position in positions:
        LAST.write_bytes(flip(bytearray(content), position, position % 8))
        wrong = fault(LAST)
        found += wrong is not None
        assert wrong or equal(IO.load_checkpoint(LAST), state())
    assert found > 0.5 * len(positions)  # the rest is padding, times and versions


def test_a_tensor_that_torch_would_leave_unread_is_found():
    IO.save_checkpoint(state(), LAST)
    # The bit of the zip's table by which an entry is a folder, 8 bytes before its name.
    rewrite(LAST, lambda content: flip(content, content.rindex(b"archive/data/1") - 8, 4))
    assert "changed" in str(fault(LAST))


def test_the_newest_valid_one_is_found_and_each_skipped_one_told(capsys):
    folder = LAST.parent
    assert newest_valid(folder) is None
    IO.save_checkpoint(state(0), LAST)
    assert newest_valid(folder) == LAST
    IO.save_checkpoint(state(1), LAST)
    assert newest_valid(folder) == LAST
    assert capsys.readouterr().err == ""
    LAST.write_bytes(b"")
    assert newest_valid(folder) == PREVIOUS
    assert capsys.readouterr().err == (
        "warning: 'run/last.ckpt': it is empty; continuing from previous.ckpt\n"
    )
    LAST.unlink()
    assert newest_valid(folder) == PREVIOUS
    assert "No such file" in capsys.readouterr().err
    PREVIOUS.write_bytes(b"")
    with pytest.raises(UserError, match=r"last\.ckpt.*No such file[^$]*previous\.ckpt.*empty"):
        newest_valid(folder)


@pytest.mark.parametrize("space", [0, 1000, 100_000, 400_100, 401_000])
def test_a_full_disk_leaves_the_earlier_files_as_they_were(space):
    """The limit of a file's size stands for the disk; torch buries what the system said of it."""
    IO.save_checkpoint(state(0), LAST)
    IO.save_checkpoint(state(1), LAST)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (space, hard))
        with pytest.raises(RunError, match=f"can't write '{LAST}': File too large"):
            IO.save_checkpoint(state(2, size=100_000), LAST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(Path("run")) == ["last.ckpt", "previous.ckpt"]
    assert equal(IO.load_checkpoint(LAST), state(1))
    assert equal(IO.load_checkpoint(PREVIOUS), state(0))


@pytest.mark.parametrize("strategy", ["auto", "ddp"])
@pytest.mark.parametrize(
    ("plugins", "kind"), [([], SafeCheckpointIO), ([TorchCheckpointIO()], TorchCheckpointIO)]
)
def test_the_users_own_checkpoint_plugin_wins(quiet_trainer, plugins, strategy, kind):
    trainer = quiet_trainer(plugins=plugins, strategy=strategy)
    use_safe_io(trainer.strategy, plugins)
    assert type(trainer.strategy.checkpoint_io) is kind


# ---- which are kept


@pytest.mark.parametrize(("monitor", "choose"), [("val/loss", min), ("val/acc", max)])
def test_best_is_the_best_by_the_metric_and_last_is_the_last(run, column, monitor, choose):
    """A checkpoint callback of the user writes beside them."""
    words = ["--epochs=5", f"--monitor={monitor}", "--lr=0.03", "--name=a"]
    cli = run(*words, "--callbacks+=ModelCheckpoint")
    values = [float(value) for value in column(cli.folder / "metrics.csv", monitor)]
    folder = cli.folder / "checkpoints"
    epochs = {path.name: torch.load(path, weights_only=True)["epoch"] for path in folder.iterdir()}
    best = values.index(choose(values))
    expected = {"best.ckpt": best, "last.ckpt": 4, "previous.ckpt": 3, "epoch=4-step=105.ckpt": 4}
    assert epochs == expected
    again = run("validate", f"--ckpt_path={folder}/best.ckpt")
    assert again.scores["val/loss"] == cli.scores["val/loss"]  # what is reported is the best's
