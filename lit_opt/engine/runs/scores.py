"""What a run measured: `metrics.csv`, `metrics.json`, the final lines."""

import csv
import io
import json
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lit_opt.engine.base.errors import RunError
from lit_opt.engine.base.terminal import columns
from lit_opt.engine.runs.atomic_file import write_text
from lit_opt.engine.runs.loggers import Events
from lit_opt.engine.runs.metrics_file import read_rows


class CSVCurves(Logger):
    """Writes `folder/metrics.csv`: a row a step, a column a metric, empty where there is no value.

    Lightning's CSVLogger deletes the file of an earlier run and adds a hparams.yaml beside the
    configuration that is there already.
    A run that goes on at `step` keeps the rows up to it, as the later ones come again.
    """

    def __init__(self, folder: Path, step: int | None = None) -> None:
        super().__init__()
        self.path = folder / "metrics.csv"
        self.rows: dict[int, dict[str, Any]] = {}
        self.changed = False
        self.next_save = 0.0
        if step is not None and self.path.is_file():
            self.rows = {at: row for at, row in read_rows(self.path).items() if at <= step}

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

    def replace(self, step: int, row: Mapping[str, Any] | None) -> None:
        """Puts another row in the place of one that is not to be there, or none."""
        self.rows.pop(step, None)
        self.rows |= {step: dict(row)} if row else {}
        self.changed = True

    @rank_zero_only
    def save(self) -> None:
        """Rewrites the file, as columns may have come; takes a twentieth of the time at most."""
        if not self.changed or time.monotonic() < self.next_save:
            return
        began = time.monotonic()
        names = {key for row in self.rows.values() for key in row} - {"step"}
        columns = ["step", *sorted(names)]  # in the same order, however often the run was resumed
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self.rows[step] for step in sorted(self.rows))
        write_text(self.path, text.getvalue())
        self.changed = False
        self.next_save = began + 20 * (time.monotonic() - began)

    def finalize(self, status: str) -> None:
        """Also when a checkpoint is saved, with which a resume takes the rows up."""
        self.next_save = 0.0
        self.save()


def error_line(title: str, metrics: Mapping[str, float]) -> str:
    """`Test Error: acc 97.2%, avg loss 0.093456`: averages over samples, named `test/acc`.

    One number a class, named `test/f1/cat`, is left to the files; more lines where it is too long.
    """
    scores = {n.split("/", 1)[-1]: value for n, value in metrics.items() if n.count("/") < 2}
    loss = scores.pop("loss", None)
    parts = [f"{n} {100 * v:.1f}%" if n == "acc" else f"{n} {v:.4f}" for n, v in scores.items()]
    if loss is not None:
        parts.append(f"avg loss {loss:.6f}")
    whole = f"{title} Error: " + ", ".join(part.replace(" ", "\xa0") for part in parts)
    return fill(whole, columns(), subsequent_indent="  ").replace("\xa0", " ")


def of_the_user(loggers: Iterable[Logger]) -> list[Logger]:
    """Those that the user has added, which get the final scores as well."""
    return [logger for logger in loggers if not isinstance(logger, CSVCurves | Events)]


def check_losses(scores: Mapping[str, float]) -> None:
    """Raises `RunError` for an average loss of nan or inf: the weights scored are worth nothing."""
    for name, value in scores.items():
        if name.endswith("/loss") and not math.isfinite(value):
            raise RunError(
                f"{name} is {value}, though the weights are finite: what was trained can't be used"
                "\nthe net puts out such values in eval mode, or the data of that split has some"
            )


def save_scores(path: Path, scores: Mapping[str, float]) -> None:
    """Numbers that JSON does not have, NaN and infinity, become null."""
    finite = {name: value if math.isfinite(value) else None for name, value in scores.items()}
    write_text(path, json.dumps(finite, indent=2) + "\n")
