"""`metrics.csv`: one row a step at which something was measured, one column a metric."""

import csv
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


class CSVCurves(Logger):
    """Writes all metrics to `folder/metrics.csv`, empty where a step has no value.

    Lightning's CSVLogger deletes the file of an earlier run and adds a hparams.yaml beside the
    configuration that is there already.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "metrics.csv"
        self.rows: dict[int, dict[str, Any]] = {}
        self.changed = False
        self.next_save = 0.0

    @property
    def name(self) -> str:
        return self.path.parent.name

    @property
    def version(self) -> str:
        return ""

    @property
    def log_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        step = step or 0
        self.rows.setdefault(step, {"step": step}).update(metrics)
        self.changed = True

    @rank_zero_only
    def save(self) -> None:
        """Rewrites the file, as columns may have come; takes a twentieth of the time at most."""
        if not self.changed or time.monotonic() < self.next_save:
            return
        began = time.monotonic()
        columns = list(dict.fromkeys(key for row in self.rows.values() for key in row))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows[step] for step in sorted(self.rows))
        self.changed = False
        self.next_save = began + 20 * (time.monotonic() - began)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.next_save = 0.0
        self.save()


class Events(TensorBoardLogger):
    """TensorBoard events in the run folder, without a hparams.yaml beside config.yaml."""

    @rank_zero_only
    def save(self, *args: Any, **kwargs: Any) -> None:
        self.experiment.flush()


def tensorboard(folder: Path) -> list[Logger]:
    """A logger, if tensorboard is installed."""
    if find_spec("tensorboard") is None:
        return []
    return [Events(folder, name="", version="", default_hp_metric=False)]
