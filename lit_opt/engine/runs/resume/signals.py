"""SIGTERM, SIGHUP and Ctrl-C: the run is saved at that step and ends, to be resumed to the bit."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback

from lit_opt.engine.base.errors import Stopped
from lit_opt.engine.base.terminal import erasing

AGREE_EVERY = 50  # batches after which the processes of a run ask each other


class StopOnSignal(Callback):
    """Writes a checkpoint from which a resume goes on as if nothing had been, then stops.

    Gradients that are being accumulated are not in a checkpoint, and Lightning skips the validation
    that is due at the batch it resumes from; so it waits for the optimizer step, or for the
    validation to begin. A second Ctrl-C ends the process at once. Without `path` it saves nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.asked = 0  # the signal's number
        self._agreed = 0  # the one that all processes know of

    def setup(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        self._trainer = trainer

    # ---- what a signal does ----

    def _listen(self, answer: Callable[[int, Any], None]) -> None:
        """Until Lightning, whose own answer to SIGTERM exits with 0, restores what was before."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, *_hangup()):
                signal.signal(number, answer)

    def _ask(self, number: int, frame: Any) -> None:
        """The answer while something is trained: stop where the run can be resumed from."""
        if number == signal.SIGINT == self.asked:
            _to_stderr(erasing())
            self._pass_on(signal.SIGKILL)
            _exit(128 + number)
        self.asked = number
        if number == signal.SIGINT and self._trainer.local_rank == 0:
            _to_stderr(
                (erasing() or "\n")
                + "stopping after this step; Ctrl-C again stops at once, unsaved\n"
            )

    def _end_at_once(self, number: int, frame: Any) -> None:
        """The answer where nothing is being trained."""
        if self._trainer.local_rank:
            os._exit(0)  # see `leave_if_asked`
        self._pass_on(number)
        stage = self._trainer.state.stage.value
        text = f"{signal.Signals(number).name} in {stage}: there was nothing to save"
        if hasattr(sys, "ps1"):  # a notebook is to live on
            raise Stopped(text, 128 + number)
        with contextlib.suppress(RuntimeError):  # it was about to print
            sys.stdout.flush()
        _to_stderr(f"{erasing()}stopped: {text}\n")
        _exit(128 + number)  # an exception may be lost, or be another's cause

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
        if trainer.world_size == 1 or loop.batch_idx % AGREE_EVERY == 0:
            self._agree()
        if self._agreed and can_resume_here(trainer):
            self._stop()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._listen(self._end_at_once)
        elif not trainer.sanity_checking:
            self._stop_validating()

    def on_validation_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        # Several processes may have different numbers of batches, and so can't agree in each.
        if trainer.world_size == 1 and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._stop_validating()

    def on_train_epoch_start(self, *args: Any) -> None:
        self.leave_if_asked()  # `last.ckpt` is of the end of the epoch before

    def _agree(self) -> None:
        self._agreed = self.asked
        if self._trainer.world_size > 1:
            strategy = self._trainer.strategy
            asked = torch.tensor(self.asked, device=strategy.root_device)
            self._agreed = int(strategy.reduce(asked, reduce_op="max"))

    # ---- stopping ----

    def leave_if_asked(self) -> None:
        """For the time after the training, whose end is in `last.ckpt`."""
        self._agree()
        if not self._agreed:
            return
        if self._trainer.local_rank:
            # At any other status Lightning kills the process that started this one.
            raise SystemExit(0)
        saved = f"saved as {self.path}" if self.path and self.path.exists() else "not saved"
        name = signal.Signals(self._agreed).name
        text = f"{name} at step {self._trainer.global_step}: {saved}"
        raise Stopped(text, 128 + self._agreed)

    def _stop(self) -> None:
        if self.path:
            self._trainer.save_checkpoint(self.path, weights_only=False)
        self.leave_if_asked()

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


def can_resume_here(trainer: Any) -> bool:
    """Whether a checkpoint that is written after this batch, inside an epoch, can be resumed.

    Not while gradients accumulate, which are not in it, or before a validation, which is left out.
    """
    loop = trainer.fit_loop.epoch_loop
    accumulates = (loop.batch_idx + 1) % trainer.accumulate_grad_batches != 0
    return not (loop.batch_progress.is_last_batch or accumulates or _validates_next(trainer))


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


def _hangup() -> list[signal.Signals]:
    """What a terminal sends that is closed, unless the command was started under nohup."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    ignored = hangup is not None and signal.getsignal(hangup) is signal.SIG_IGN
    return [hangup] if hangup and not ignored else []


def _to_stderr(text: str) -> None:
    """Past Python's streams, which may be in use; nobody may be listening."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def _exit(code: int) -> NoReturn:
    """At once; loader workers would tell with a traceback that they miss their process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch raises an error where one is killed
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(code)


def plugins_of(given: Any, strategy: Any = "auto") -> list[Any]:
    """The Trainer's plugins: `given`, which are the user's, and one that requeues no SLURM job.

    Lightning would requeue it at SIGUSR1; a run is continued with `--resume` instead, unless the
    user gave an environment such as `SLURMEnvironment`, maybe in a strategy object.
    """
    plugins = list(given) if isinstance(given, list) else [given] if given else []
    chosen = getattr(strategy, "cluster_environment", None)
    chosen = chosen or any(isinstance(plugin, ClusterEnvironment) for plugin in plugins)
    if not chosen and SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins
