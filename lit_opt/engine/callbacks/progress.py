"""What a run prints while it trains: one line a validation, and a bar where there is a terminal."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import Progress, TaskID


def describe(metrics: Mapping[str, Any], stage: str) -> str:
    """`val/loss 0.1042  val/acc 97.1%`; accuracies in percent, the loss first."""
    mine = {name: float(value) for name, value in metrics.items() if name.startswith(f"{stage}/")}
    mine = {name: value for name, value in mine.items() if not name.endswith("_step")}
    ordered = sorted(mine, key=lambda name: not name.endswith("/loss"))
    return "  ".join(f"{name} {_number(name, mine[name])}" for name in ordered)


def _number(name: str, value: float) -> str:
    return f"{100 * value:.1f}%" if name.endswith("acc") else f"{value:.4f}"


class EpochLines(ProgressBar):
    """Prints the scores after every validation and every epoch, like the tutorial's loop."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._refreshed = 0.0
        self._epoch_began = 0.0
        self._open_epoch: int | None = None
        self._validated = False

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        """Lightning disables the bars of all processes but the first."""
        self._enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self._enabled:
            print(*args, flush=True)  # rich keeps it above a running bar

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        net = getattr(pl_module, "net", pl_module)
        size = sum(p.numel() for p in net.parameters())
        data: Any = getattr(trainer, "datamodule", None)
        about = f"; {data.about()}" if hasattr(data, "about") else ""
        device = trainer.strategy.root_device.type
        self.print(f"{type(net).__name__}, {size:,} parameters{about}; on {device}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._enabled and sys.stdout.isatty():
            self._bar = Progress(transient=True)
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        if trainer.fit_loop.restarted_mid_epoch:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close_epoch(trainer)
        self._open_epoch = trainer.current_epoch
        self._validated = False
        self._epoch_began = time.monotonic()
        if self._bar:
            self._bar.reset(self._task, total=trainer.num_training_batches)
            self._bar.update(self._task, description=f"epoch {trainer.current_epoch + 1}")

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if self._bar and time.monotonic() - self._refreshed > 0.1:
            self._refreshed = time.monotonic()
            self._bar.update(self._task, completed=trainer.fit_loop.epoch_loop.batch_idx + 1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        self._validated = True
        if fitting and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            epoch = _epoch(trainer, trainer.current_epoch)
            scores = describe(trainer.callback_metrics, "val")
            self.print(f"{epoch}  step {trainer.global_step}  {scores}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close_epoch(trainer)
        self._hide_bar()

    def on_exception(self, *args: Any) -> None:
        self._hide_bar()

    def _hide_bar(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _close_epoch(self, trainer: pl.Trainer) -> None:
        """The training scores of an epoch are known only after this callback's own epoch end."""
        if self._open_epoch is None:
            return
        stages = ("train", "val", "test") if self._validated else ("train", "test")
        scores = "  ".join(filter(None, (describe(trainer.callback_metrics, s) for s in stages)))
        seconds = time.monotonic() - self._epoch_began
        self.print(f"{_epoch(trainer, self._open_epoch)}  {scores}  {seconds:.1f} s")
        self._open_epoch = None


def _epoch(trainer: pl.Trainer, epoch: int) -> str:
    total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
    return f"epoch {epoch + 1:>{len(str(total))}}/{total}"
