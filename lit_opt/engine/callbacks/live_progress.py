"""On a terminal: one line that tells how far a run is and how long it will take."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import lightning.pytorch as pl
import torch
from torchmetrics import Metric, MetricCollection

from lit_opt.engine.base.terminal import columns, draw, erase, long_step
from lit_opt.engine.callbacks.pace import Pace, batches_of, in_thousands, in_time, samples_in
from lit_opt.engine.callbacks.progress import EpochLines, epoch_of, in_short

EVERY = 0.25  # seconds from one drawing to the next
SHARE = 100  # and this many times as long as a drawing takes, waiting for the GPU included


class LiveProgress(EpochLines):
    """The lines of `EpochLines`, and under them one that is drawn over four times a second.

    `epoch  3/20  63%  loss 0.2173  acc 93.4%  12.3k samples/s  left 0:12, fit 4:50`: the scores of
    the epoch so far, the time left of the epoch and of the fit, both with their validations; `fit
    >4:50` until a validation has shown how long it takes. What does not fit is left out. A stage
    without such a line is shown by its name and number of batches, if it takes over a second.

    Args:
        compiles: Whether the first step compiles the net.
    """

    def __init__(self, compiles: bool = False) -> None:
        super().__init__()
        self._compiles = compiles
        self._now = ExitStack()  # the long step that runs
        self._next = float("inf")  # when to draw again
        self._losses: list[float] = []  # those seen in this epoch
        self._pace = Pace()
        self._ended = True  # whether the last batch of the epoch is over
        self._validates_since = 0.0

    # ---- stages, each a long step until it has something better to show ----

    def _enter(self, what: Any) -> None:
        self._leave()
        if self._enabled:
            self._now.enter_context(long_step(what))

    def _leave(self, *args: Any, **kwargs: Any) -> None:
        self._next = float("inf")
        self._now.close()
        if self._enabled:
            erase()

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        self._enter("checking the validation" + ", compiling" * self._compiles)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._leave()
        super().on_train_epoch_start(trainer, pl_module)
        self._pace.begin(trainer)
        self._losses.clear()
        self._ended = False
        first = "compiling" if self._compiles else "first step"
        self._enter(f"{epoch_of(trainer, trainer.current_epoch)}  {first}")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            fitting = trainer.state.fn == "fit"
            loop = trainer.fit_loop.epoch_loop.val_loop if fitting else trainer.validate_loop
            head = f"{epoch_of(trainer, trainer.current_epoch)}  " if fitting else ""
            self._enter(lambda: f"{head}validating, {batches_of(loop)},")
        self._validates_since = time.monotonic()

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        self._enter(lambda: f"testing, {batches_of(trainer.test_loop)},")

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        self._enter(lambda: f"predicting, {batches_of(trainer.predict_loop)},")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._leave()
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not self._ended:
            now = time.monotonic()
            self._pace.pause(now - self._validates_since)
            self._next = now + EVERY

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._leave()
        super().on_train_end(trainer, pl_module)

    on_sanity_check_end = on_test_end = on_predict_end = _leave
    on_exception = teardown = _leave

    # ---- the line within an epoch ----

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if self._pace.first is None:
            self._leave()
            self._pace.begin_steps(trainer, now)
            self._next = now + EVERY
        elif now >= self._next and self._enabled:
            self._pace.count(trainer, now)
            scores = self._scores(trainer, module, outputs)
            self._pace.samples = max(self._pace.samples, samples_in(batch))
            draw(live_text(trainer, scores, self._pace))
            took = time.monotonic() - now
            self._next = now + max(EVERY, SHARE * took)
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._pace.count(trainer, now)
            self._ended = True

    def _scores(self, trainer: Any, module: Any, outputs: Any) -> dict[str, float]:
        """The module's running `train_scores`, else the mean of the losses seen, and what it logs.

        Reads the device; no other process is asked.
        """
        if scores := running(getattr(module, "train_scores", None)):
            return scores
        if isinstance(outputs, Mapping) and "loss" in outputs:
            # Lightning divides the loss for the accumulation of gradients.
            self._losses.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)
        loss = {"loss": sum(self._losses) / len(self._losses)} if self._losses else {}
        shown = trainer.progress_bar_metrics.items()
        return loss | {k: v for k, v in shown if not k.startswith(("val", "test"))}


def running(scores: Any) -> dict[str, float]:
    """Those metrics of an epoch so far that are one number, counted in tensors, by short names.

    Of this process alone, past torchmetrics' cache and exchange; a metric that keeps all samples is
    left to the epoch's end.
    """
    values = {}
    for name, metric in scores.items(False, False) if isinstance(scores, MetricCollection) else ():
        states = metric.metric_state.values() if isinstance(metric, Metric) else ()
        if states and all(isinstance(state, torch.Tensor) for state in states):
            with torch.no_grad():
                value = type(metric).compute(metric)
            if isinstance(value, torch.Tensor) and value.numel() == 1:
                values[name] = float(value)
    return values


def live_text(trainer: Any, scores: Mapping[str, float], pace: Pace) -> str:
    """The line, with what fits in the terminal's columns; at first the least important goes."""
    length, at = trainer.num_training_batches, trainer.fit_loop.epoch_loop.batch_idx + 1
    endless = length == float("inf")
    place = f"step {trainer.global_step:,}" if endless else f"{at / length:.0%}"
    told = {n.rpartition("train/")[2]: value for n, value in scores.items()}
    told = dict(sorted(told.items(), key=lambda pair: not pair[0].endswith("loss")))
    parts = [(0, epoch_of(trainer, trainer.current_epoch)), (1 if endless else 5, place)]
    # How important, and what.
    parts += [
        ((1, 3, 6)[min(i, 2)], f"{n} {in_short(n, v)}") for i, (n, v) in enumerate(told.items())
    ]
    rate = pace.samples * trainer.world_size / pace.seconds if pace.seconds else 0.0
    parts += [(4, f"{in_thousands(rate)} samples/s")] if rate else []
    epoch, fit = pace.left(trainer)
    least = "" if pace.is_known else ">"
    ends = [f"{least}{in_time(epoch)}"] if epoch < float("inf") else []
    ends += [f"fit {least}{in_time(fit)}"] if fit < float("inf") else []
    parts += [(2, f"left {', '.join(ends)}")] if ends else []
    while len(line := "  ".join(text for _, text in parts)) >= columns() and len(parts) > 1:
        parts.remove(max(reversed(parts), key=lambda part: part[0]))
    return line
