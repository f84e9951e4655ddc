"""`predict` writes what the net says of every sample to `predictions.csv`."""

import csv
import heapq
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor


class WritePredictions(BasePredictionWriter):
    """One row a sample, in the order of the test set: class and probability, or the outputs.

    Every process writes a hidden file of its own; at the end the first one merges them, and only
    then replaces the `predictions.csv` of an earlier time.

    Args:
        folder: Where `predictions.csv` is written; all processes must see it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder
        self._file: Any = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._rows = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self._part(trainer.global_rank).open("w", newline="")
        self._writer = csv.writer(self._file)
        self._names = getattr(trainer.datamodule, "class_names", None)  # type: ignore[attr-defined]

    def _part(self, rank: int) -> Path:
        return self.folder / f".predictions-{rank}.csv.tmp"

    def write_on_batch_end(self, trainer: Any, module: Any, prediction: Any, *args: Any) -> None:
        columns, rows = _classes(prediction, self._names) if self._names else _outputs(prediction)
        if self._rows == 0:
            self._writer.writerow(["index", *columns])
        for row in rows:
            index = self._rows * trainer.world_size + trainer.global_rank
            self._writer.writerow([index, *row])
            self._rows += 1

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._file.close()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            parts = [self._part(rank) for rank in range(trainer.world_size)]
            merged = self.folder / ".predictions.csv.tmp"
            _merge(parts, merged)
            merged.replace(self.folder / "predictions.csv")
            for part in parts:
                part.unlink()

    def on_exception(self, trainer: pl.Trainer, *args: Any) -> None:
        if self._file:
            self._file.close()
            self._part(trainer.global_rank).unlink(missing_ok=True)


def _merge(parts: list[Path], path: Path) -> None:
    """Rows of all parts in the order of their index, the first column."""
    with ExitStack() as files:
        opened = [files.enter_context(part.open(newline="")) for part in parts]
        readers: list[Any] = [csv.reader(file) for file in opened]
        headers = [header for reader in readers if (header := next(reader, None))]
        writer = csv.writer(files.enter_context(path.open("w", newline="")))
        writer.writerows(headers[:1])
        writer.writerows(heapq.merge(*readers, key=_index))


def _index(row: Any) -> int:
    return int(row[0])


def _classes(logits: Tensor, names: list[str]) -> tuple[list[str], list[list[Any]]]:
    """`logits: float (B, C)` -> class, its name, its probability in [0, 1]."""
    prob, pred = logits.float().softmax(1).max(1)
    rows = [[c, names[c], f"{p:.4f}"] for c, p in zip(pred.tolist(), prob.tolist(), strict=True)]
    return ["pred", "class", "prob"], rows


def _outputs(outputs: Tensor) -> tuple[list[str], list[list[Any]]]:
    """`outputs: float (B, K)` -> one column an output."""
    rows = outputs.float().flatten(1).tolist()
    return [f"output_{k}" for k in range(len(rows[0]))], rows
