"""Checkpoint files: written whole or not at all, verified before they are loaded."""

import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from lit_opt.engine.errors import UserError
from lit_opt.engine.runs.atomic_file import atomic_write, reason

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class SafeCheckpointIO(TorchCheckpointIO):
    """Lightning's plugin for local files; a `last.ckpt` that is replaced stays as `previous.ckpt`.

    Lightning's own buffers the file in memory, swallows `PermissionError` and leaves an empty file
    if it is killed with `$TMPDIR` on another file system.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Raises `RunError` if the file can't be written."""
        if _is_remote(path) or storage_options is not None:
            return super().save_checkpoint(checkpoint, path, storage_options)
        path = Path(path)
        previous = path.with_name(PREVIOUS) if path.name == LAST else None
        with atomic_write(path, previous) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Raises `UserError` if the file is damaged. Never runs code: `weights_only` stays True."""
        if _is_remote(path):
            return super().load_checkpoint(path, map_location, weights_only=True)
        return load(Path(path), map_location=map_location)


def _is_remote(path: str | Path) -> bool:
    return "://" in str(path)


def load(path: Path, **options: Any) -> dict[str, Any]:
    """A verified checkpoint; `options` are those of `torch.load`.

    Raises:
        UserError: naming what is wrong with the file.
    """
    wrong = fault(path)
    if wrong:
        raise UserError(f"'{path}' can't be used as a checkpoint: {wrong}")
    content: dict[str, Any] = torch.load(path, weights_only=True, **options)
    return content


def fault(path: Path) -> str | None:
    """What is wrong with a checkpoint file, or None; reads all of it, runs none of it."""
    try:
        if path.stat().st_size == 0:
            return "it is empty"
        with zipfile.ZipFile(path) as archive:
            # An entry marked as a folder is one that torch does not read, without a word.
            if archive.testzip() or any(entry.external_attr for entry in archive.infolist()):
                return "it is damaged: its bytes have changed since it was written"
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except zipfile.BadZipFile:
        return "it is cut short or was never a checkpoint"
    except OSError as error:
        return f"it can't be read: {reason(error)}"
    except Exception as error:  # flipped bits can raise anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            return f"it names a class or function ({code[1]}); only plain values are loaded"
        return f"it is damaged: {reason(error)}"
    if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
        return "it holds something else, such as plain weights; expected a checkpoint of a fit"
    return None


def newest_valid(folder: Path) -> Path | None:
    """`last.ckpt`, or `previous.ckpt` with a line of warning if the last is damaged or gone.

    None if there is neither.

    Raises:
        UserError: if none of them can be used.
    """
    paths = [folder / LAST, folder / PREVIOUS]
    if not any(path.exists() for path in paths):
        return None
    faults: list[str] = []
    for path in paths:
        wrong = fault(path)
        if wrong is None:
            for line in faults:
                warn(f"{line}; continuing from {path.name}")
            return path
        faults.append(f"'{path}': {wrong}")
    raise UserError("no checkpoint to continue from\n" + "\n".join(faults))


def resume_point(path: Path) -> Path:
    """`path`; for a `last.ckpt` the newest valid one of its run."""
    return (newest_valid(path.parent) if path.name == LAST else None) or path


@rank_zero_only
def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
