"""`predict` writes what the net says of every sample to a file in the run's folder."""

import csv
from itertools import zip_longest
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch.distributed
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from lit_opt.engine.base.targets import Regression


class WritePredictions(BasePredictionWriter):
    """One row a sample, in the order of the test set, as the data's targets say.

    Classes: class and probability. Several labels: a column of probabilities each. Regression: the
    outputs. A last column `file` names images. An array a sample, such as the classes of all
    pixels, is a row of `predictions.npy`.
    A list of strings from `predict_step` goes to `predictions.txt`, each under a line with its
    index; what is neither that nor a float tensor, to `predictions.pt`, a list of the batches'.
    The rows stay in memory until the end; only then are earlier predictions replaced.

    Args:
        folder: Where the file is written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rows: list[Any] = []
        self._columns: list[str] = []
        self._suffix = ".csv"
        data = trainer.datamodule  # type: ignore[attr-defined]
        self._targets = getattr(data, "targets", Regression())
        self._names = getattr(data, "class_names", None)
        files = getattr(data, "files", None)
        self._files = files.get("test") if isinstance(files, dict) else None

    def write_on_batch_end(self, trainer: Any, module: Any, prediction: Any, *args: Any) -> None:
        """`prediction: float (B, …)`, what the net puts out; or strings, or anything else."""
        if isinstance(prediction, Tensor) and prediction.is_floating_point() and prediction.ndim:
            outputs = prediction.float().cpu()
            outputs = outputs if outputs.ndim > 1 else outputs[:, None]  # (B,) -> (B, 1)
            self._columns, rows = self._targets.predictions(outputs, self._names)
            self._suffix = ".csv" if self._columns else ".npy"
        elif isinstance(prediction, list | tuple) and all(isinstance(p, str) for p in prediction):
            self._suffix, rows = ".txt", prediction
        else:
            self._suffix, rows = ".pt", [move_data_to_device(prediction, "cpu")]
        self._rows += rows

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        parts: list[Any] = [(self._columns, self._rows)]
        if trainer.world_size > 1:
            parts *= trainer.world_size
            torch.distributed.all_gather_object(parts, (self._columns, self._rows))
        if trainer.is_global_zero:
            columns: list[str] = next((columns for columns, _ in parts if columns), [])
            # Sample i is the process' whose rank is i modulo their number.
            groups = zip_longest(*(rows for _, rows in parts))
            rows = [row for group in groups for row in group if row is not None]
            if columns and self._files:
                columns = [*columns, "file"]
                rows = [[*row, file] for row, file in zip(rows, self._files, strict=False)]
            path = self.folder / f"predictions{self._suffix}"
            new = path.with_name(f".{path.name}.tmp")
            _write_rows(new, path.suffix, columns, rows)
            new.replace(path)
            print(f"predictions: {path}, {self._told(rows)}", flush=True)

    def _told(self, rows: list[Any]) -> str:
        """What is in the file, in a few words."""
        if self._suffix == ".txt":
            return f"{len(rows)} texts"
        if self._suffix == ".pt":
            return f"a list of what predict_step returned, {len(rows)} batches"
        if self._suffix == ".csv":
            return f"{len(rows)} rows: {self._targets.predicted}"
        return f"{rows[0].dtype} {(len(rows), *rows[0].shape)}: {self._targets.predicted}"


def _write_rows(path: Path, suffix: str, columns: list[str], rows: list[Any]) -> None:
    if suffix == ".npy":
        with path.open("wb") as file:
            np.save(file, np.stack(rows))
    elif suffix == ".pt":
        torch.save(rows, path)
    elif suffix == ".txt":
        path.write_text("".join(f"--- {k}\n{row}\n" for k, row in enumerate(rows)), "utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as text:
            writer = csv.writer(text)
            writer.writerow(["index", *columns])
            writer.writerows([index, *row] for index, row in enumerate(rows))
