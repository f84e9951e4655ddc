"""What a run prints while it trains: one line a validation, and a bar where there is a terminal."""

import sys
import time
from collections.abc import Iterable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import Progress


class EpochLines(ProgressBar):
    """Prints the scores after every validation and every epoch, like the tutorial's loop."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: Bar | None = None
        self._began: float | None = None  # seconds; while an epoch's line is still to be printed

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
            self._bar = Bar(trainer)
            self._bar.start()
        if trainer.fit_loop.restarted_mid_epoch:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The training scores of the epoch before are known only now."""
        self._print_epoch(trainer, trainer.current_epoch)
        self._began, self._validated = time.monotonic(), False
        if self._bar:
            about = f"epoch {trainer.current_epoch + 1}"
            self._bar.reset(self._bar.task, total=trainer.num_training_batches, description=about)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        self._validated = True
        if fitting and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            scores = _scores(trainer, "val")
            epoch = _epoch(trainer, trainer.current_epoch + 1)
            self.print(f"{epoch}  step {trainer.global_step}  {scores}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print_epoch(trainer, trainer.current_epoch)
        self.on_exception()

    def on_exception(self, *args: Any) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _print_epoch(self, trainer: pl.Trainer, number: int) -> None:
        if self._began is not None:
            scores = _scores(trainer, *["train", "val", "test"][:: 1 if self._validated else 2])
            seconds = time.monotonic() - self._began
            self.print(f"{_epoch(trainer, number)}  {scores}  {seconds:.1f} s")
            self._began = None


class Bar(Progress):
    """The batches of an epoch; it asks the trainer when it is drawn, so that steps cost nothing."""

    def __init__(self, trainer: pl.Trainer) -> None:
        super().__init__(transient=True)
        self.trainer = trainer
        self.task = self.add_task("", total=None)

    def get_renderables(self) -> Iterable[Any]:
        self.update(self.task, completed=self.trainer.fit_loop.epoch_loop.batch_idx + 1)
        return super().get_renderables()


def _scores(trainer: pl.Trainer, *stages: str) -> str:
    """`val/loss 0.1042  val/acc 97.1%`; accuracies in percent, the loss first."""
    scores = {}
    for stage in stages:
        for name, value in sorted(trainer.callback_metrics.items(), key=...):
            pass
    return ""


def _epoch(trainer: pl.Trainer, number: int) -> str:
    total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
    return f"epoch {number:>{len(str(total))}}/{total}"
