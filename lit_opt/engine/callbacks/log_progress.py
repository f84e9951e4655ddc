"""Without a terminal, such as in a log file: a line now and then while a stage takes long."""

import time
from typing import Any

from lit_opt.engine.callbacks.pace import in_time
from lit_opt.engine.callbacks.progress import EpochLines, epoch_of

SLOW, PAUSE = 10.0, 30.0  # seconds to the first line of an evaluation, and to the next ones
MINUTE = 60.0  # to each line of a training epoch


class LogProgress(EpochLines):
    """The lines of `EpochLines`, and `predicting: batch 120 of 468, 0:40 left` in a long stage.

    Of an evaluation after 10 s, then every 30 s; of a training epoch every minute. They are printed
    at the ends of batches.
    """

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self._epoch_began = time.monotonic()
        self._batches = 0  # of this process: a resumed epoch begins in its middle
        self._next_of_epoch = self._epoch_began + MINUTE

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        self._batches += 1
        if (now := time.monotonic()) >= self._next_of_epoch:
            self._next_of_epoch = now + MINUTE
            done, total = trainer.fit_loop.epoch_loop.batch_idx + 1, trainer.num_training_batches
            head = epoch_of(trainer, trainer.current_epoch)
            self.print(batch_line(head, done, total, (now - self._epoch_began) / self._batches))

    def _begin(self, trainer: Any, pl_module: Any) -> None:
        self._began = time.monotonic()
        self._next = self._began + SLOW

    on_validation_start = on_test_start = on_predict_start = _begin

    def on_validation_batch_end(self, trainer: Any, *args: Any) -> None:
        fits = trainer.state.fn == "fit"
        loop = trainer.fit_loop.epoch_loop.val_loop if fits else trainer.validate_loop
        self._evaluated("validating", loop)

    def on_test_batch_end(self, trainer: Any, *args: Any) -> None:
        self._evaluated("testing", trainer.test_loop)

    def on_predict_batch_end(self, trainer: Any, *args: Any) -> None:
        self._evaluated("predicting", trainer.predict_loop)

    def _evaluated(self, what: str, loop: Any) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + PAUSE
            done, total = loop.batch_progress.current.processed, sum(loop.max_batches)
            self.print(batch_line(what, done, total, (now - self._began) / done))


def batch_line(what: str, done: int, total: float, seconds: float) -> str:
    """`seconds`: what a batch takes; there is no time left to tell without an end."""
    if total == float("inf"):
        return f"{what}: batch {done:,}"
    return f"{what}: batch {done:,} of {total:,}, {in_time(seconds * (total - done))} left"
