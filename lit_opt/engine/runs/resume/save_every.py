"""`--save_every 1000` or `10m`: last.ckpt is written inside epochs, too, which may have no end."""

import re
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.runs.resume.signals import AGREE_EVERY, can_resume_here

SECONDS = {"s": 1, "m": 60, "h": 3600}


class SaveEvery(Callback):
    """Saves at the first step after that many steps or that time from which a run can be resumed.

    Args:
        every: Steps, such as 1000, or a time: 90s, 10m, 1h. A step is one of the optimizer; with
            several optimizers a training step, however often they step in it, while Lightning's
            `global_step` and `--max_steps` count each of theirs.
        path: Of last.ckpt.
    """

    def __init__(self, every: int | str, path: Path) -> None:
        match = re.fullmatch(r"([1-9]\d*)([smh]?)", str(every))
        if not match:
            raise UserError(f"--save_every {every}: expected steps such as 1000, or 90s, 10m, 1h")
        number, unit = int(match[1]), match[2]
        self.steps = 0 if unit else number
        self.seconds = number * SECONDS.get(unit, 0)
        self.path = path

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._step, self._time, self._done = trainer.global_step, time.monotonic(), 0

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        new, self._step = trainer.global_step - self._step, trainer.global_step
        self._done += new if len(trainer.optimizers) == 1 else min(new, 1)
        if self._is_due(trainer) and can_resume_here(trainer):
            trainer.save_checkpoint(self.path, weights_only=False)
            self.on_train_start(trainer, None)

    def _is_due(self, trainer: Any) -> bool:
        if self.steps:
            return self._done >= self.steps
        due = time.monotonic() - self._time >= self.seconds
        if trainer.world_size > 1:  # the first process's clock is that of all
            asks = trainer.fit_loop.epoch_loop.batch_idx % AGREE_EVERY == 0
            due = bool(asks and trainer.strategy.broadcast(due))
        return due
