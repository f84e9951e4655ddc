"""`metrics.csv`: one row a step at which something was measured, one column a metric."""

import csv
import io
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from lit_opt.engine.runs.atomic_file import atomic_write


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
    def save_dir(self) -> str:
        """A ModelCheckpoint of the user's writes to `save_dir/name/version/checkpoints`."""
        return str(self.path.parent)

    name = version = ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        step = step or 0
        self.rows.setdefault(step, {"step": step}).update(metrics)
        self.changed = True

    def go_on(self, step: int) -> None:
        """Goes on with the file of an interrupted run; what it logged after `step` comes again."""
        if self.path.is_file():
            with self.path.open(newline="") as file:
                old = {int(row["step"]): row for row in csv.DictReader(file)}
            self.rows |= {
                number: {key: value for key, value in row.items() if value}
                for number, row in old.items()
                if number <= step
            }

    @rank_zero_only
    def save(self) -> None:
        """Rewrites the file, as columns may have come; takes a twentieth of the time at most."""
        if not self.changed or time.monotonic() < self.next_save:
            return
        began = time.monotonic()
        columns = list(dict.fromkeys(key for row in self.rows.values() for key in row))
        with atomic_write(self.path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            writer = csv.DictWriter(text, columns)
            writer.writeheader()
            writer.writerows(self.rows[step] for step in sorted(self.rows))
            text.flush()
            text.detach()
        self.changed = False
        self.next_save = began + 20 * (time.monotonic() - began)

    def flush(self) -> None:
        self.next_save = 0.0
        self.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.flush()


class Events(TensorBoardLogger):
    """TensorBoard events in the run folder, without a hparams.yaml beside config.yaml."""

    @rank_zero_only
    def save(self, *args: Any, **kwargs: Any) -> None:
        self.experiment.flush()


def tensorboard(folder: Path, step: int | None = None) -> list[Logger]:
    """A logger, if tensorboard is installed; what was logged after `step` is shown no more."""
    if find_spec("tensorboard") is None:
        return []
    purge = None if step is None else step + 1
    return [Events(folder, name="", version="", default_hp_metric=False, purge_step=purge)]
