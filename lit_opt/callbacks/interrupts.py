"""SIGTERM and Ctrl-C: the run is saved at that step and ends, to be resumed to the bit."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback

from lit_opt.errors import Stopped

AGREE_EVERY = 10  # batches after which the processes of a run ask each other


class StopOnSignal(Callback):
    """Writes a checkpoint from which a resume goes on as if nothing had been, then stops.

    Gradients that are being accumulated are not in a checkpoint, and Lightning skips the validation
    that is due at the batch it resumes from; so it waits for the optimizer step, or for the
    validation to begin. A second Ctrl-C ends the process at once.

    Args:
        path: The checkpoint to write; None to stop without.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.asked = 0  # the signal's number
        self._requeues = False
        self._before: dict[int, Any] = {}
        self._validating = False

    def _listen(self, trainer: Any) -> None:
        environment = trainer._accelerator_connector.cluster_environment
        self._requeues = isinstance(environment, SLURMEnvironment) and environment.auto_requeue
        numbers = [signal.SIGTERM, signal.SIGINT]
        if self._requeues:
            numbers.append(environment.requeue_signal or signal.SIGUSR1)
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in numbers}

    def _ask(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT == self.asked:
            if sys.stdout.isatty():
                os.write(1, b"\x1b[?25h\n")  # the progress bar had hidden the cursor
            os._exit(130)
        self.asked = number
        if number == signal.SIGINT:
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once, unsaved\n")

    def _stop_listening(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    # ---- where a run can stop ----

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._listen(trainer)

    def on_train_batch_end(
        self,
        trainer: Any,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.world_size > 1 and batch_idx % AGREE_EVERY == 0:
            self._agree(trainer)
        if not self.asked or (trainer.world_size > 1 and batch_idx % AGREE_EVERY):
            return
        loop = trainer.fit_loop.epoch_loop
        due = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
        if not (due or loop.batch_progress.is_last_batch or loop._should_accumulate()):
            self._stop(trainer)

    def on_validation_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if self.asked and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._validating = True
            self._stop(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.leave_if_asked(trainer)  # `last.ckpt` is of the end of the epoch before

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_listening()

    def on_exception(self, *args: Any) -> None:
        self._stop_listening()

    def on_test_start(self, *args: Any) -> None:
        _end_at_once()

    def on_predict_start(self, *args: Any) -> None:
        _end_at_once()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            _end_at_once()

    def _agree(self, trainer: Any) -> None:
        asked = torch.tensor(self.asked, device=trainer.strategy.root_device)
        self.asked = int(trainer.strategy.reduce(asked, reduce_op="max"))

    # ---- stopping ----

    def leave_if_asked(self, trainer: Any) -> None:
        """For the time after the training, whose end is in `last.ckpt`."""
        if self.asked:
            self._leave(trainer)

    def _stop(self, trainer: Any) -> NoReturn:
        if self.path:
            trainer.save_checkpoint(self.path, weights_only=False)
        self._leave(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A validation that was cut short is to be run again from its start."""
        if self._validating:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            before = progress["total"]["completed"] - progress["current"]["completed"]
            for key, begun in (("ready", 1), ("started", 1), ("processed", 0), ("completed", 0)):
                progress["current"][key] = 0
                progress["total"][key] = before + begun  # Lightning's sign of a begun validation
            progress["is_last_batch"] = False

    def _leave(self, trainer: Any) -> NoReturn:
        name = signal.Signals(self.asked).name
        saved = f"saved as {self.path}" if self.path else "not saved"
        if self._requeues and trainer.is_global_zero:
            subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)
        raise Stopped(f"{name} at step {trainer.global_step}: {saved}", self._code())

    def _code(self) -> int:
        return 130 if self.asked == signal.SIGINT else 143


def _end_at_once() -> None:
    """Lightning would take a SIGTERM and go on to the end, though there is nothing to save."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
