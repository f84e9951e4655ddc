"""What a run prints while it trains: one line a validation, and a bar where there is a terminal."""

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import Progress

from lit_opt.engine.interface import data_of, model_of


class EpochLines(ProgressBar):
    """Prints the scores after every validation and every epoch, like the tutorial's loop."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: Progress | None = None
        self._open: tuple[int, float] | None = None  # an epoch without its line, and when it began

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        """Lightning disables the bars of all processes but the first, and while it tunes."""
        self._enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self._enabled:
            print(*args, flush=True)  # rich keeps it above a running bar

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        net = model_of(pl_module).net or pl_module
        size = sum(p.numel() for p in net.parameters())
        told = data_of(trainer.datamodule).about()  # type: ignore[attr-defined]
        about = f"; {told}" if told else ""
        about += f"; on {trainer.strategy.root_device.type}"
        self.print(f"{type(net).__name__}, {size:,} parameters{about}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._enabled and sys.stdout.isatty():
            self._bar = Progress(transient=True)
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        if trainer.fit_loop.restarted_mid_epoch:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The training scores of the epoch before are known only now."""
        self._print_epoch(trainer)
        self._open, self._validated = (trainer.current_epoch, time.monotonic()), False
        if self._bar:
            about = f"epoch {trainer.current_epoch + 1}"
            self._bar.reset(self._task, total=trainer.num_training_batches, description=about)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if self._bar:
            self._bar.update(self._task, completed=trainer.fit_loop.epoch_loop.batch_idx + 1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        self._validated = True
        if fitting and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            epoch = _epoch(trainer, trainer.current_epoch)
            self.print(f"{epoch}  step {trainer.global_step}  {_scores(trainer, 'val')}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print_epoch(trainer)
        self.on_exception()

    def on_exception(self, *args: Any) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _print_epoch(self, trainer: pl.Trainer) -> None:
        if self._open:
            epoch, began = self._open
            stages = ("train", "val", "test") if self._validated else ("train", "test")
            about = f"{_epoch(trainer, epoch)}  {_scores(trainer, *stages)}"
            self.print(f"{about}  {time.monotonic() - began:.1f} s")
            self._open = None


def _scores(trainer: pl.Trainer, *stages: str) -> str:
    """`val/loss 0.1042  val/acc 97.1%`; accuracies in percent, the loss first.

    Names of one's own count to a stage by how they begin: `val_loss`, `valid/f1`.
    """
    metrics = trainer.callback_metrics
    names = sorted(metrics, key=lambda name: not name.endswith("loss"))
    return "  ".join(
        f"{name} {metrics[name]:{'.1%' if name.endswith('acc') else '.4f'}}"
        for stage in stages
        for name in names
        if name.startswith(stage) and name.count("/") < 2 and not name.endswith("_step")
    )


def _epoch(trainer: pl.Trainer, epoch: int) -> str:
    total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
    return f"epoch {epoch + 1:>{len(str(total))}}/{total}"
