"""Checkpoint files: written whole or not at all, verified when loaded; the best and last stay."""

import math
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import CheckpointIO, TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import Strategy

from lit_opt.engine.base.errors import UserError, warn
from lit_opt.engine.base.terminal import columns
from lit_opt.engine.callbacks.progress import in_short
from lit_opt.engine.runs.atomic_file import atomic_write, reason
from lit_opt.engine.runs.plain_values import plain

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
FIRST_LOSS = "the first loss"  # to be monitored, until its name is known
# In the names of metrics that are better the smaller they are.
SMALLER = ("loss", "err", "mse", "mae", "nll", "perplexity", "ppl", "cost", "fid", "wer", "cer")


class SafeCheckpointIO(TorchCheckpointIO):
    """Lightning's plugin for local files; a `last.ckpt` that is replaced stays as `previous.ckpt`.

    Lightning's own buffers the file in memory, swallows `PermissionError` and leaves an empty file
    if it is killed with `$TMPDIR` on another file system.
    """

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Raises `RunError` if the file can't be written, or holds what can't be read again."""
        if "://" in str(path):  # a remote file is left to Lightning
            return super().save_checkpoint(checkpoint, path, storage_options)
        path, checkpoint = Path(path), plain(checkpoint)
        previous = path.with_name(PREVIOUS) if path.name == LAST else None
        with atomic_write(path, previous) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: Any = True
    ) -> Any:
        """Raises `UserError` if the file is damaged. Never runs code: `weights_only` stays True."""
        return load(Path(path), map_location=map_location)


def use_safe_io(strategy: Strategy, plugins: list[Any]) -> None:
    """Writes checkpoints by `SafeCheckpointIO`, unless the user or the strategy has another way.

    A TPU's strategy, for one, has; so it is set in the strategy that the Trainer has chosen.
    """
    chosen = any(isinstance(plugin, CheckpointIO) for plugin in plugins)
    if not chosen and type(strategy.checkpoint_io) is TorchCheckpointIO:
        strategy.checkpoint_io = SafeCheckpointIO()


def load(path: Path, **options: Any) -> dict[str, Any]:
    """A verified checkpoint, on the CPU unless `map_location` is among `options` of `torch.load`.

    Raises:
        UserError: naming what is wrong with the file.
    """
    if wrong := fault(path):
        raise UserError(f"'{path}' can't be used as a checkpoint: {wrong}")
    options = {"map_location": "cpu", **options}  # it may be of a GPU that is not here
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
        if code := re.search(r"GLOBAL (\S+)", str(error)):
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
    last, previous = folder / LAST, folder / PREVIOUS
    if not last.exists() and not previous.exists():
        return None
    if not (wrong := fault(last)):
        return last
    told = f"'{last}': {wrong}"
    if wrong := fault(previous):
        raise UserError(f"no checkpoint to continue from\n{told}\n'{previous}': {wrong}")
    warn(f"{told}; continuing from {PREVIOUS}")
    return previous


# ---- which checkpoints a run keeps: the best by the monitored metric and the last


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`; a monitored name that is never logged is found before the first step."""

    state_key = "BestCheckpoint"  # the same whatever is monitored, and not put together every time
    guesses_mode = False  # by the metric's name, so that it must be told
    _warned = False

    def on_train_batch_end(self, *args: Any) -> None:
        """It saves after validations only."""

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """The best so far goes with a run, moved or not, that is continued in its own folder.

        If it is damaged, gone or the best by another metric, the best is counted anew; so it is in
        another folder.
        """
        state = checkpoint["callbacks"].pop(self.state_key, {})
        if self.monitor == FIRST_LOSS and state:
            self._watch(state["monitor"])
        best = Path(str(self.dirpath), "best.ckpt")
        moves = not trainer.ckpt_path or Path(trainer.ckpt_path).resolve().parent != best.parent
        if moves or not state.get("best_model_path"):
            return
        if wrong := fault(best):
            warn(f"'{best}' is not kept as the best checkpoint: {wrong}")
        elif state["monitor"] == self.monitor:
            self.best_model_path = self.kth_best_model_path = str(best)
            self.best_model_score = self.kth_value = state["best_model_score"]
            self.best_k_models = {str(best): state["best_model_score"]}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.monitor == FIRST_LOSS:
            found = _first_loss(trainer.callback_metrics)
            if found is None:
                return
            self._watch(found)
        if self.guesses_mode:
            trainer.print(f"best.ckpt is the one with the {self.mode}imum of {self.monitor}")
            self.guesses_mode = False
        if trainer.sanity_checking:
            self._check_monitors(trainer)
        super().on_validation_end(trainer, pl_module)

    def _watch(self, monitor: str) -> None:
        self.monitor, self.mode = monitor, direction_of(monitor)
        self.kth_value = torch.tensor(math.inf if self.mode == "min" else -math.inf)

    def check_monitor_top_k(self, trainer: Any, current: Any = None) -> bool:
        """Nan and inf are never the best, also where there is no other yet."""
        if current is None or math.isfinite(current):
            return super().check_monitor_top_k(trainer, current)
        if not self._warned:
            told = f"{self.monitor} is {float(current)} after step {trainer.global_step}"
            warn(f"{told}; no checkpoint is the best while it is")
        self._warned = True
        return False

    def _check_monitors(self, trainer: Any) -> None:
        """What any callback watches must be measured; the training's metrics are not yet."""
        for callback in trainer.callbacks:
            watched = getattr(callback, "monitor", None)
            if watched and watched not in trainer.callback_metrics and "train" not in watched:
                flag = "--monitor" if callback is self else f"{type(callback).__name__}'s monitor"
                names = ", ".join(sorted(trainer.callback_metrics))
                raise UserError(f"{flag} {watched} is not measured in validation; set {names}")


class LastCheckpoint(ModelCheckpoint):
    """`last.ckpt`; a class of its own, so that its state is told from another's of the user."""

    state_key = "LastCheckpoint"

    def on_train_batch_end(self, *args: Any) -> None:
        """It saves after epochs only."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Its path is always the same; Lightning would warn where the folder is another one."""


def _first_loss(names: Iterable[str]) -> str | None:
    """The loss that a module logs in validation, whatever it calls it; None if there is none."""
    logged = sorted((name for name in names if "train" not in name), key=len)
    losses = [name for name in logged if "loss" in name.lower()]
    of_validation = [name for name in losses if "val" in name.lower()]
    found = [*of_validation, *losses, *(logged if len(logged) == 1 else [])]
    return found[0] if found else None


def direction_of(metric: str) -> str:
    """ "min" for losses and errors, "max" for all others, told by the name."""
    return "min" if any(word in metric.lower() for word in SMALLER) else "max"


def checkpoints(
    folder: Path, monitor: str | None = None, mode: str | None = None
) -> list[ModelCheckpoint]:
    """Callbacks that write `best.ckpt` (first in the list) and `last.ckpt` into `folder`.

    `monitor`, a validation metric, selects the best, the highest one in mode "max"; `FIRST_LOSS` is
    the one that is logged as a loss; it is None where nothing is validated: only `last.ckpt` is
    written.
    """
    guesses, mode = mode is None, mode or direction_of(monitor or "")
    options: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False}
    last = LastCheckpoint(filename="last", save_on_train_epoch_end=True, **options)
    if monitor is None:
        return [last]
    options |= {"monitor": monitor, "mode": mode, "auto_insert_metric_name": False}
    options["save_on_train_epoch_end"] = False  # after a validation, whenever there is one
    best = BestCheckpoint(filename="best", **options)
    best.guesses_mode = guesses
    return [best, last]


def best_checkpoint(trainer: Any, kept: list[ModelCheckpoint]) -> str | None:
    """`best epoch 14 of 20 by val/loss 0.1044 (checkpoints/best.ckpt)`, after a fit.

    By steps where that is how the run is long, or it validates within epochs. None where no
    checkpoint is written, or no validation was finite.
    """
    if not kept:
        return None
    best = kept[0]
    if not isinstance(best, BestCheckpoint):
        return f"nothing was validated: the last weights are kept{_in_file(LAST)}"
    if best.best_model_score is None or not trainer.is_global_zero:
        return None
    content = torch.load(best.best_model_path, "cpu", weights_only=True, mmap=True)
    when = f"epoch {content['epoch'] + 1} of {trainer.current_epoch}"
    if trainer.max_steps != -1 or trainer.val_check_batch != trainer.num_training_batches:
        when = f"step {content['global_step']:,} of {trainer.global_step:,}"
    score = in_short(str(best.monitor), best.best_model_score)
    return f"best {when} by {best.monitor} {score}{_in_file('best.ckpt')}"


def _in_file(name: str) -> str:
    """Left out of a narrow terminal, where it would not fit."""
    return f" (checkpoints/{name})" if columns() >= 80 else ""
