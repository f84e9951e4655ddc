"""`predict` writes what the net says of every sample to `predictions.csv`."""

import csv
from itertools import zip_longest
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch.distributed
from lightning.pytorch.callbacks import BasePredictionWriter


class WritePredictions(BasePredictionWriter):
    """One row a sample, in the order of the test set: class and probability, or the outputs.

    The rows stay in memory until the end; only then is an earlier `predictions.csv` replaced.

    Args:
        folder: Where `predictions.csv` is written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rows: list[list[Any]] = []
        self._names = getattr(trainer.datamodule, "class_names", None)  # type: ignore[attr-defined]

    def write_on_batch_end(self, trainer: Any, module: Any, prediction: Any, *args: Any) -> None:
        """`prediction: float (B, C)`, logits of classes or outputs of a regression."""
        outputs = prediction.float().flatten(1)
        if names := self._names:
            probs, preds = (best.tolist() for best in outputs.softmax(1).max(1))
            self._rows += [[c, names[c], f"{p:.4f}"] for c, p in zip(preds, probs, strict=True)]
        else:
            self._rows += outputs.tolist()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        parts: list[Any] = [self._rows]
        if trainer.world_size > 1:
            parts *= trainer.world_size
            torch.distributed.all_gather_object(parts, self._rows)
        if trainer.is_global_zero:
            path = self.folder / ".predictions.csv.tmp"
            # Sample i is the process' whose rank is i modulo their number.
            rows = [row for group in zip_longest(*parts) for row in group if row]
            columns = [f"output_{k}" for k in range(len(rows[0]) if rows else 0)]
            columns = ["pred", "class", "prob"] if self._names else columns
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["index", *columns])
                writer.writerows([index, *row] for index, row in enumerate(rows))
            path.replace(self.folder / "predictions.csv")
