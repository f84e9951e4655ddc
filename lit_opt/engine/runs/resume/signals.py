"""SIGTERM and Ctrl-C: the run is saved at that step and ends, to be resumed to the bit."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from lit_opt.engine.errors import Stopped

AGREE_EVERY = 50  # batches after which the processes of a run ask each other


class StopOnSignal(Callback):
    """Writes a checkpoint from which a resume goes on as if nothing had been, then stops.

    Gradients that are being accumulated are not in a checkpoint, and Lightning skips the validation
    that is due at the batch it resumes from; so it waits for the optimizer step, or for the
    validation to begin. A second Ctrl-C ends the process at once.

    Args:
        path: The checkpoint to write; None to stop without.
        requeue_at: The signal after which SLURM is to start the job anew; 0 for none.
    """

    def __init__(self, path: Path | None = None, requeue_at: int = 0) -> None:
        self.path = path
        self.requeue_at = requeue_at
        self.asked = 0  # the signal's number
        self._agreed = 0  # the one that all processes know of
        self._alone = True

    # ---- what a signal does ----

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._trainer: Any = trainer
        self._alone = trainer.world_size == 1

    def _listen(self, answer: Callable[[int, Any], None]) -> None:
        """Until Lightning, whose own answer to SIGTERM exits with 0, restores what was before."""
        if threading.current_thread() is threading.main_thread():
            for number in filter(None, (signal.SIGTERM, signal.SIGINT, self.requeue_at)):
                signal.signal(number, answer)

    def _ask(self, number: int, frame: Any) -> None:
        """The answer while something is trained: stop where the run can be resumed from."""
        if number == signal.SIGINT == self.asked:
            if sys.stdout.isatty():
                os.write(1, b"\x1b[?25h\n")  # the progress bar had hidden the cursor
            self._pass_on(signal.SIGKILL)
            _exit(130)
        self.asked = number
        if number == signal.SIGINT and self._trainer.local_rank == 0:
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once, unsaved\n")

    def _end_at_once(self, number: int, frame: Any) -> None:
        """The answer where nothing is being trained."""
        if self._trainer.local_rank:
            os._exit(0)  # see `_leave_saved`
        self._pass_on(number)
        self.asked = number
        text = self._text(f"in {self._trainer.state.stage.value}: there was nothing to save")
        if hasattr(sys, "ps1"):  # a notebook is to live on
            raise Stopped(text, _code(number))
        with contextlib.suppress(RuntimeError):  # it was about to print
            sys.stdout.flush()
        os.write(2, f"stopped: {text}\n".encode())
        _exit(_code(number))  # an exception may be lost, or be another's cause

    def _pass_on(self, number: int) -> None:
        if self._trainer.strategy.launcher:
            self._trainer.strategy.launcher.kill(number)

    # ---- where a run can stop ----

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        self._listen(self._end_at_once)

    on_sanity_check_start = on_predict_start = on_test_start

    def on_train_start(self, *args: Any) -> None:
        self._listen(self._ask)

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        if self._alone or loop.batch_idx % AGREE_EVERY == 0:
            self._agree()
        if not self._agreed or loop.batch_progress.is_last_batch:
            return
        accumulates = (loop.batch_idx + 1) % trainer.accumulate_grad_batches != 0
        if not accumulates and not _validates_next(trainer):
            self._stop()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._listen(self._end_at_once)
        elif not trainer.sanity_checking:
            self._stop_validating()

    def on_validation_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        # Several processes may have different numbers of batches, and so can't agree in each.
        if self._alone and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._stop_validating()

    def on_train_epoch_start(self, *args: Any) -> None:
        self.leave_if_asked()  # `last.ckpt` is of the end of the epoch before

    def _agree(self) -> None:
        self._agreed = self.asked
        if not self._alone:
            strategy = self._trainer.strategy
            asked = torch.tensor(self.asked, device=strategy.root_device)
            self._agreed = int(strategy.reduce(asked, reduce_op="max"))

    # ---- stopping ----

    def leave_if_asked(self) -> None:
        """For the time after the training, whose end is in `last.ckpt`."""
        self._agree()
        if self._agreed:
            self._leave_saved()

    def _stop_validating(self) -> None:
        """The validation that is cut short is saved as one that has only begun."""
        self._agree()
        if not self._agreed:
            return
        progress = self._trainer.fit_loop.epoch_loop.val_loop.batch_progress
        total, before = progress.total, progress.total.completed - progress.current.completed
        total.completed = total.processed = before
        total.started = total.ready = before + 1
        progress.current.reset()
        progress.is_last_batch = False
        self._stop()

    def _stop(self) -> NoReturn:
        if self.path:
            self._trainer.save_checkpoint(self.path, weights_only=False)
        self._leave_saved()

    def _leave_saved(self) -> NoReturn:
        self.asked = self._agreed
        saved = f"saved as {self.path}" if self.path and self.path.exists() else "not saved"
        text = self._text(f"at step {self._trainer.global_step}: {saved}")
        if self._trainer.local_rank:
            # At any other status Lightning kills the process that started this one.
            raise SystemExit(0)
        raise Stopped(text, _code(self.asked))

    def _text(self, text: str) -> str:
        requeues = self.asked == self.requeue_at and self._trainer.is_global_zero
        return f"{signal.Signals(self.asked).name} {text}{_requeue() if requeues else ''}"


def _validates_next(trainer: Any) -> bool:
    """Whether Lightning may validate after this batch, which is not the epoch's last."""
    loop = trainer.fit_loop.epoch_loop
    epochs, batches = trainer.check_val_every_n_epoch, trainer.val_check_batch
    if not trainer.enable_validation or (epochs and (trainer.current_epoch + 1) % epochs):
        return False
    if trainer.should_stop or batches is None:  # None where validations come by the clock
        return bool(trainer.should_stop)
    # Without a number of epochs the interval counts batches across epochs.
    done = loop.batch_idx if epochs else loop.total_batch_idx
    return bool((done + 1) % batches == 0)


def _code(number: int) -> int:
    return 130 if number == signal.SIGINT else 143


def _exit(code: int) -> NoReturn:
    """At once; loader workers would tell with a traceback that they miss their process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch raises an error where one is killed
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(code)


def _requeue() -> str:
    try:
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"\nthe job is not requeued: {error}"
    return "; the job is requeued"
