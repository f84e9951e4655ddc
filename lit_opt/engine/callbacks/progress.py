"""What a run prints while it trains: one line a validation and one an epoch."""

import re
import time
from collections.abc import Iterable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar

from lit_opt.engine.base.interface import data_of, model_of
from lit_opt.engine.base.terminal import columns, cut_to


class EpochLines(ProgressBar):
    """Prints the scores after every validation and every epoch, like the tutorial's loop."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._open: tuple[int, float] | None = None  # an epoch without its line, and when it began

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        """Lightning disables the bars of all processes but the first, and while it tunes."""
        self._enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self._enabled:
            print(*args, flush=True)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        net = model_of(pl_module).net or pl_module
        size = sum(p.numel() for p in net.parameters())
        self.print(f"{type(net).__name__}, {size:,} parameters, on {device_name(trainer)}")
        if told := data_of(trainer.datamodule).about():  # type: ignore[attr-defined]
            self.print(told)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fit_loop.restarted_mid_epoch:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The training scores of the epoch before are known only now."""
        self._print_epoch(trainer)
        self._open, self._validated = (trainer.current_epoch, time.monotonic()), False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        self._validated = True
        if fitting and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            head = f"{epoch_of(trainer, trainer.current_epoch)}  step {trainer.global_step}"
            self.print(score_line(head, trainer.callback_metrics, ["val"]))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print_epoch(trainer)

    def _print_epoch(self, trainer: pl.Trainer) -> None:
        if self._open:
            epoch, began = self._open
            stages = ["train", "val", "test"] if self._validated else ["train", "test"]
            seconds = f"  {time.monotonic() - began:.1f} s"
            head = epoch_of(trainer, epoch)
            self.print(score_line(head, trainer.callback_metrics, stages, seconds))
            self._open = None


def device_name(trainer: pl.Trainer) -> str:
    """`cpu`, or `2 × cuda` on several devices."""
    kind = trainer.strategy.root_device.type
    return kind if trainer.world_size == 1 else f"{trainer.world_size} x {kind}"


def epoch_of(trainer: pl.Trainer, epoch: int) -> str:
    """`epoch  3/20`; `epoch 3/?` where there is no last one."""
    total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
    return f"epoch {epoch + 1:>{len(str(total))}}/{total}"


# Places of scores in a line that is too long, from the last to go to the first: (stage, number).
IMPORTANT = [("val", 0), ("val", 1), ("test", 0), ("test", 1), ("train", 0), ("train", 1)]


def score_line(head: str, metrics: Any, stages: Iterable[str], tail: str = "") -> str:
    """`epoch 1/20  train/loss 1.1478 acc 76.0%  val/loss 0.4387 acc 88.2%  0.2 s`.

    What does not fit in the terminal's columns is left out, told by `...`: first what follows a
    stage's second score, then the training's scores. All are in metrics.csv.
    """
    shown = {(stage, i): s for stage in stages for i, s in enumerate(stage_scores(metrics, stage))}
    most, left_out = columns(), ""
    expendable = sorted(
        shown, key=lambda key: IMPORTANT.index(key) if key in IMPORTANT else key[1] + 9
    )
    while True:
        parts = [" ".join(s for (of, _), s in shown.items() if of == stage) for stage in stages]
        line = "  ".join([head, *filter(None, parts)]) + left_out
        if len(line) + len(tail) <= most or not expendable:
            return cut_to(line, most - len(tail)) + tail
        shown.pop(expendable.pop())
        left_out = "  ..."


def stage_scores(metrics: Any, stage: str) -> list[str]:
    """`["val/loss 0.1042", "acc 97.1%"]`: of one stage, the loss first, the stage told once.

    Names of one's own count to a stage by how they begin: `val_loss`, `valid/f1`. One number a
    class, named `val/f1/cat`, is left to the files.
    """
    names = [n for n in metrics if n.startswith(stage) and n.count("/") < 2]
    names = [n for n in names if not n.endswith("_step")]
    names.sort(key=lambda name: not name.endswith("loss"))
    first = re.match(r"[a-z]+[/_]", names[0]) if names else None
    start = first[0] if first else ""
    short = names[:1] + [name.removeprefix(start) for name in names[1:]]
    return [f"{n} {in_short(n, metrics[name])}" for n, name in zip(short, names, strict=True)]


def in_short(name: str, value: Any) -> str:
    """A score in five or six characters; accuracies in percent."""
    value = float(value)
    if name.endswith("acc"):
        return f"{value:.1%}"
    small, large = 0 < abs(value) < 1e-3, abs(value) >= 10
    return f"{value:{'.2g' if small else '.5g' if large else '.4f'}}"
