"""Metrics that are no number, such as a confusion matrix or a curve, as files of the run folder."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from lit_opt.engine.runs.atomic_file import write_text
from lit_opt.engine.tasks.metrics import Scores


class ScoreTables(Callback):
    """Writes `NAME-STAGE.csv`, a matrix, or `NAME-STAGE.json`, anything else, of the last epoch.

    After a run they are of the best checkpoint's validation and test.

    Args:
        folder: Where they are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for scores in pl_module.children():
            if isinstance(scores, Scores):
                tables, scores.tables = scores.tables, {}
                for name, value in tables.items():
                    if trainer.is_global_zero and not trainer.sanity_checking:
                        self._write(name, value, scores.names)

    # Training scores are computed after the epoch's validation and its hooks.
    on_test_end = on_train_epoch_start = on_train_end = on_validation_end

    def _write(self, name: str, value: Any, names: Any) -> None:
        stage, _, metric = name.partition("/")
        file = self.folder / f"{metric.replace('/', '-')}-{stage}"
        if isinstance(value, torch.Tensor) and value.ndim == 2:
            text = io.StringIO(newline="")
            header = list(names) if value.shape[1] == len(names) else range(value.shape[1])
            own = header if value.shape[0] == value.shape[1] else range(value.shape[0])
            rows = [[key, *row] for key, row in zip(own, value.tolist(), strict=True)]
            csv.writer(text).writerows([["", *header], *rows])
            write_text(file.with_name(f"{file.name}.csv"), text.getvalue())
        else:
            write_text(file.with_name(f"{file.name}.json"), json.dumps(_plain(value)) + "\n")


def _plain(value: Any) -> Any:
    """Tensors as lists, at any depth."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value
