"""How fast a training goes, how long it will take, and how such numbers are written."""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.callbacks import Timer


class Pace:
    """How long the batches of an epoch take, and all that is not training, such as validation.

    Times are in seconds. The first batch of an epoch, which may wait for workers or compile, is no
    measure.
    """

    first: int | None = None  # the number of the batch from whose end on is counted
    seconds = 0.0  # a batch
    step_seconds = float("inf")  # an optimizer step
    samples = 0  # the most in a batch
    ratio = 0.0  # of other time to training time

    def __init__(self) -> None:
        self._rests: deque[float] = deque(maxlen=1)  # other time of the last epochs
        self._began = self._end = self.spent = 0.0
        self.epochs = 0

    def begin(self, trainer: Any) -> None:
        """An epoch begins, and the one before has ended with its validation."""
        now = time.monotonic()
        validates = trainer.enable_validation
        every = (trainer.check_val_every_n_epoch or 1) if validates else 1
        if self._rests.maxlen != every:
            self._rests = deque(self._rests, maxlen=every)
        if self.first is not None:
            self._rests.append(self.spent + now - self._end)
        self.epochs += self.first is not None
        self.first, self._began, self.spent = None, now, 0.0

    def begin_steps(self, trainer: Any, now: float) -> None:
        self.first, self._step = trainer.fit_loop.epoch_loop.batch_idx, trainer.global_step
        if self.epochs:
            self.spent = max(0.0, now - self._began - self.seconds)
        self._began = self._end = now

    def pause(self, seconds: float) -> None:
        """A validation inside the epoch."""
        self.spent += seconds
        self._began += seconds

    def count(self, trainer: Any, now: float) -> None:
        taken, self._end = now - self._began, now
        if batches := trainer.fit_loop.epoch_loop.batch_idx - (self.first or 0):
            self.seconds = taken / batches
        if steps := trainer.global_step - self._step:
            self.step_seconds = taken / steps
        self.ratio = self.spent / taken if taken > 0 else 0.0

    @property
    def is_known(self) -> bool:
        """Whether all that comes beside the training has been seen."""
        return len(self._rests) == self._rests.maxlen

    def left(self, trainer: Any) -> tuple[float, float]:
        """Seconds to the end of the epoch and of the fit, infinite where there is no end."""
        length, at = trainer.num_training_batches, trainer.fit_loop.epoch_loop.batch_idx + 1
        rest = sum(self._rests) / max(1, len(self._rests))
        batches, epochs, steps = length - at, float("inf"), float("inf")
        if trainer.max_epochs not in (None, -1):
            epochs = trainer.max_epochs - trainer.current_epoch - 1
        if trainer.max_steps not in (None, -1):
            steps = max(0, trainer.max_steps - trainer.global_step) * self.step_seconds
        training = min((batches + epochs * length if epochs else batches) * self.seconds, steps)
        epoch = min(batches * self.seconds, training)
        ratio = rest / (length * self.seconds) if self._rests and self.seconds else self.ratio
        after = (training - epoch) * (1 + ratio) if training > epoch else 0.0
        this = self._rests[0] if self.is_known else rest  # as many epochs ago as validations are
        epoch += max(0.0, this - self.spent)
        timers = [c.time_remaining() for c in trainer.callbacks if isinstance(c, Timer)]
        return epoch, min([epoch + after, *(t for t in timers if t is not None)])


def in_thousands(number: float) -> str:
    """`9,876`, `12.3k`, `1.2M`"""
    for size, unit in ((1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / min(size, 1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def in_time(seconds: float) -> str:
    """`4:50`, `1:04:50`, `3 days`"""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 48 * 60:
        return f"{minutes // (24 * 60)} days"
    return (
        f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
    )


def samples_in(batch: Any) -> int:
    """Of the first tensor in a batch; of a `Group` of `--steps_per_execution`, its batches'."""
    if isinstance(batch, torch.Tensor):
        return batch.shape[0] if batch.ndim else 1
    if isinstance(batch, Mapping):
        return max(map(samples_in, batch.values()), default=0)
    if isinstance(batch, list | tuple):
        return max(map(samples_in, batch), default=0) or len(batch)
    loader = getattr(batch, "loader", None)
    return (loader.batch_size or 0) * loader.group if loader else 0


def batches_of(loop: Any) -> str:
    """`45 of 157 batches`, of an evaluation that runs."""
    done, total = loop.batch_progress.current.completed, loop.max_batches
    total = sum(total) if isinstance(total, list) else total
    return f"batch {done:,}" + (f" of {total:,}" if total < float("inf") else "")
