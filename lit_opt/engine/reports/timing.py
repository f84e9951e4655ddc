"""How long a fit took, how many samples a second it trained on, and its peak of memory."""

import sys
import time
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback


class Timing(Callback):
    """Looks at the clock at the beginnings and ends of epochs and validations."""

    def __init__(self) -> None:
        self.began = self.trained_since = time.monotonic()
        self.seconds_of_training, self.steps, self.first_step = 0.0, 0, 0
        self.samples_a_step: float | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.began = time.monotonic()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.first_step = trainer.global_step
        self._go_on(trainer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.seconds_of_training += time.monotonic() - self.trained_since

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._go_on(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.seconds_of_training += time.monotonic() - self.trained_since
        self.steps = trainer.global_step - self.first_step
        batch_size = getattr(trainer.datamodule, "batch_size", None)
        if isinstance(batch_size, int):
            self.samples_a_step = batch_size * trainer.world_size * trainer.accumulate_grad_batches

    def _go_on(self, trainer: Any) -> None:
        self.trained_since = time.monotonic()

    def measured(self, trainer: Any) -> dict[str, Any]:
        """Seconds since the fit began, those of training alone, samples a second, peak of bytes."""
        found: dict[str, Any] = {"seconds": round(time.monotonic() - self.began, 2)}
        if self.steps:
            found["training_seconds"] = round(self.seconds_of_training, 2)
            found["steps"] = self.steps
            found["samples_per_second"] = None
            if self.samples_a_step:
                samples = self.steps * self.samples_a_step
                found["samples_per_second"] = round(samples / self.seconds_of_training, 1)
        device = trainer.strategy.root_device
        if device.type == "cuda":
            found["gpu_memory_bytes"] = torch.cuda.max_memory_allocated(device)
        found["memory_bytes"] = _peak_of_process()
        return found


def _peak_of_process() -> int | None:
    """Peak of the resident memory; None on Windows, which has no such count."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
