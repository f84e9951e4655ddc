"""`predict` writes what the net says of every sample to `predictions.csv`."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor


class WritePredictions(BasePredictionWriter):
    """One row a sample, in the order of the test set: class and probability, or the outputs.

    Args:
        folder: Where `predictions.csv` is written; on several processes one file each.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder
        self._rows = 0

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        suffix = f"-{trainer.global_rank}" if trainer.world_size > 1 else ""
        self.path = self.folder / f"predictions{suffix}.csv"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._names = getattr(trainer.datamodule, "class_names", None)  # type: ignore[attr-defined]

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        columns, rows = _classes(prediction, self._names) if self._names else _outputs(prediction)
        if self._rows == 0:
            self._writer.writerow(["index", *columns])
        for row in rows:
            index = self._rows * trainer.world_size + trainer.global_rank
            self._writer.writerow([index, *row])
            self._rows += 1

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._file.close()


def _classes(logits: Tensor, names: list[str]) -> tuple[list[str], list[list[Any]]]:
    """`logits: float (B, C)` -> class, its name, its probability in [0, 1]."""
    prob, pred = logits.float().softmax(1).max(1)
    rows = [[c, names[c], f"{p:.4f}"] for c, p in zip(pred.tolist(), prob.tolist(), strict=True)]
    return ["pred", "class", "prob"], rows


def _outputs(outputs: Tensor) -> tuple[list[str], list[list[Any]]]:
    """`outputs: float (B, K)` -> one column an output."""
    rows = outputs.float().flatten(1).tolist()
    return [f"output_{k}" for k in range(len(rows[0]))], rows
