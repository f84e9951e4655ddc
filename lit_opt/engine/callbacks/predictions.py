"""`predict` writes what the net says of every sample to `predictions.csv`."""

import csv
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch.distributed
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor


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
        self._columns: list[str] = []
        self._rows: list[list[Any]] = []
        self._names = getattr(trainer.datamodule, "class_names", None)  # type: ignore[attr-defined]

    def write_on_batch_end(self, trainer: Any, module: Any, prediction: Any, *args: Any) -> None:
        self._columns, rows = (
            _classes(prediction, self._names) if self._names else _outputs(prediction)
        )
        self._rows += rows

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        parts: list[Any] = [self._rows]
        if trainer.world_size > 1:
            parts *= trainer.world_size
            torch.distributed.all_gather_object(parts, self._rows)
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / ".predictions.csv.tmp"
            # Sample i is the process' whose rank is i modulo their number.
            rows = filter(None, chain.from_iterable(zip_longest(*parts)))
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["index", *self._columns])
                writer.writerows([index, *row] for index, row in enumerate(rows))
            path.replace(self.folder / "predictions.csv")


def _classes(logits: Tensor, names: list[str]) -> tuple[list[str], list[list[Any]]]:
    """`logits: float (B, C)` -> class, its name, its probability in [0, 1]."""
    prob, pred = logits.float().softmax(1).max(1)
    rows = [[c, names[c], f"{p:.4f}"] for c, p in zip(pred.tolist(), prob.tolist(), strict=True)]
    return ["pred", "class", "prob"], rows


def _outputs(outputs: Tensor) -> tuple[list[str], list[list[Any]]]:
    """`outputs: float (B, K)` -> one column an output."""
    rows = outputs.float().flatten(1).tolist()
    return [f"output_{k}" for k in range(len(rows[0]))], rows
