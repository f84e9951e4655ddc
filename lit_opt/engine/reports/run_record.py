"""What the files of a run folder tell of the run; whatever is missing or damaged is left out."""

import json
import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.runs.metrics_file import read_rows

CurveRow = dict[str, float]
Kept = dict[str, Any]  # outcomes.json


@dataclass
class RunRecord:
    """A run as its folder has it.

    `rows` are those of metrics.csv, numbers only; `scores` of metrics.json; `starts` of
    environment.json; `outcomes` of outcomes.json; `best` the epoch, from 0, the step and the
    monitored metric of best.ckpt.
    """

    folder: Path
    rows: list[CurveRow]
    scores: dict[str, float | None]
    starts: list[dict[str, Any]]
    config_text: str
    finished: bool
    outcomes: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        with suppress(yaml.YAMLError):
            found = yaml.safe_load(self.config_text)
            return found if isinstance(found, dict) else {}
        return {}

    @property
    def epochs(self) -> int:
        """Epochs of which something is logged."""
        return max((int(row["epoch"]) + 1 for row in self.rows if "epoch" in row), default=0)

    def setting(self, *keys: str) -> Any:
        """A value of the configuration by its path, such as `trainer`, `max_epochs`; or None."""
        value: Any = self.config
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_run(folder: Path) -> RunRecord:
    """Raises `UserError` if the folder has no file of a run."""
    kept = [folder / name for name in ("metrics.csv", "config.yaml", "environment.json")]
    if not any(path.is_file() for path in kept):
        raise UserError(f"'{folder}' is no run folder: it has no metrics.csv and no config.yaml")
    scores, starts = _json(folder / "metrics.json"), _json(folder / "environment.json")
    outcomes = _json(folder / "outcomes.json")
    config = kept[1]
    return RunRecord(
        folder,
        _rows_of_curves(kept[0]),
        scores if isinstance(scores, dict) else {},
        [*filter(_is_start, starts)] if isinstance(starts, list) else [],
        config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        (folder / ".finished").is_file(),
        outcomes if isinstance(outcomes, dict) else {},
        _best(folder / "checkpoints" / "best.ckpt"),
    )


def _is_start(start: Any) -> bool:
    return isinstance(start, dict) and isinstance(start.get("ended") or {}, dict)


def _json(path: Path) -> Any:
    with suppress(OSError, ValueError):
        return json.loads(path.read_bytes())
    return None


def _rows_of_curves(path: Path) -> list[CurveRow]:
    if not path.is_file():
        return []
    return [_numbers(row) for _, row in sorted(read_rows(path, keeps=False).items())]


def _numbers(row: dict[str, Any]) -> CurveRow:
    numbers = {}
    for name, value in row.items():
        with suppress(ValueError, TypeError):
            numbers[name] = float(value)
    return numbers


def _best(path: Path) -> dict[str, Any]:
    """Only the numbers of the checkpoint are read; its weights stay on the disk."""
    import torch  # heavy, and `compare` does without

    with suppress(Exception):  # a damaged file, which `fit` tells of
        kept = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        state = kept["callbacks"]["BestCheckpoint"]
        score = float(state["best_model_score"])
        best = {"epoch": int(kept["epoch"]), "step": int(kept["global_step"])}
        return best | {"monitor": str(state["monitor"]), "score": score}
    return {}


def is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
