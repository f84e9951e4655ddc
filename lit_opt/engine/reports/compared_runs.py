"""Runs side by side: which ones, and what their folders say."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lit_opt.engine.base.errors import UserError

RUNS = Path("runs")
NONE = "–"  # where a run has no such option or metric
# What does not make another experiment of a run.
APART = {"seed_everything", "name", "data.data_dir", "trainer.default_root_dir"}
APART |= {"trainer.enable_progress_bar", "trainer.logger", "trainer.enable_model_summary"}


@dataclass
class ComparedRun:
    """A run by its folder.

    `scores` are those of metrics.json that are finite; `options` the configuration by full names;
    `state` is "finished", or what is known of its end; `monitor` and `mode` chose best.ckpt;
    `seconds` is how long its last fit took; `made_by` are the commit, the versions and the device
    of its last start.
    """

    folder: Path
    state: str = "no scores yet"
    scores: dict[str, float] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    monitor: str | None = None
    mode: str | None = None
    seconds: float | None = None
    made_by: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        return self.state == "finished" and bool(self.scores)


def run_at(folder: Path) -> ComparedRun:
    """Raises `UserError` if the folder has no file of a run; damaged files are left out."""
    if not any((folder / name).is_file() for name in ("config.yaml", "metrics.csv")):
        raise UserError(f"'{folder}' is no run folder: it has no config.yaml and no metrics.csv")
    scores, starts = (
        _json_of(folder / "metrics.json", {}),
        _json_of(folder / "environment.json", []),
    )
    last = starts[-1] if starts and isinstance(starts[-1], dict) else {}
    ended = _mapping_in(last, "ended")
    finished, took = (folder / ".finished").is_file(), ended.get("seconds", math.nan)
    options = _options(folder / "config.yaml")
    seed = options.get("seed_everything", "")
    return ComparedRun(
        folder,
        "finished" if finished and scores else str(ended.get("why") or "killed, or still at work"),
        {name: float(v) for name, v in scores.items() if _is_finite_number(v)},
        {name: value for name, value in options.items() if name not in APART},
        int(seed) if seed.isdecimal() else None,
        monitor if isinstance(monitor := ended.get("monitor"), str) else None,
        ended.get("mode"),
        float(took) if _is_finite_number(took) else None,
        _circumstances(last),
    )


def _circumstances(start: dict[str, Any]) -> dict[str, str]:
    git, versions = _mapping_in(start, "git"), _mapping_in(start, "versions")
    changed = " with changes" if git.get("dirty") else ""
    found = {
        "commits": f"{str(git.get('commit') or 'none')[:10]}{changed}",
        "devices": str(_mapping_in(start, "devices").get("name") or ""),
    }
    return found | {f"versions of {name}": str(versions.get(name)) for name in ("torch", "lit_opt")}


def _mapping_in(record: dict[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _json_of(path: Path, empty: Any) -> Any:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        return found if isinstance(found, type(empty)) else empty
    return empty


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _options(path: Path) -> dict[str, str]:
    """The values of a config.yaml by their full names, as text."""
    with suppress(OSError, yaml.YAMLError, UnicodeDecodeError):
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast
        config = yaml.load(path.read_text(encoding="utf-8"), loader)
        return dict(_flat(config, "")) if isinstance(config, dict) else {}
    return {}


def _flat(value: Any, name: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            place = name if key in ("class_path", "init_args", "name") else f"{name}.{key}"
            yield from _flat(inner, place.lstrip("."))
    else:
        text = "none" if value is None else str(value)
        yield name, re.sub(r"^(\w+\.)+(?=[A-Za-z_])", "", text)  # a class without its module


# ---- which runs


def runs_named(words: Iterable[str]) -> list[ComparedRun]:
    """The runs that a word names: a folder, a run in `runs/`, or a series of seeds; each once."""
    folders = {f.resolve(): f for word in words for f in folders_named(word)}
    return [run_at(folder) for folder in folders.values()]


def folders_named(word: str) -> list[Path]:
    """Raises `UserError` if there is no such run."""
    places = (Path(word), RUNS / word)
    for folder in places:
        if folder.is_dir():
            return [folder]
    for folder in places:
        if found := sorted(folder.parent.glob(f"{folder.name}-seed*"), key=_by_number):
            return found
    near = sorted(p.name for p in RUNS.glob(f"{Path(word).name[:4]}*") if p.is_dir())[:5]
    hint = f"; there are {', '.join(near)}" if near else ""
    raise UserError(f"no run folder '{word}' or '{RUNS / word}'{hint}")


def _by_number(path: Path) -> tuple[int, str]:
    number = re.search(r"\d+$", path.name)
    return int(number[0]) if number else 0, path.name


def newest_runs(count: int | None) -> list[ComparedRun]:
    """The last `count` runs in `runs/` by the time of their start; all for None."""
    folders = [path.parent for path in RUNS.glob("*/config.yaml")]
    folders.sort(key=lambda folder: (folder / "config.yaml").stat().st_mtime)
    if not folders:
        raise UserError(f"there is no run in '{RUNS}' of this folder; name run folders, or train")
    return [run_at(folder) for folder in folders[-count if count else 0 :]]


def spell_alike(runs: list[ComparedRun]) -> dict[str, str]:
    """Names metrics that differ in the separator alone, `val/loss` and `val_loss`, as most runs do.

    Two of one run stay two. Returns the new name of each.
    """
    counts = Counter(name for run in runs for name in run.scores)
    spellings: dict[str, list[str]] = {}
    for name, _ in counts.most_common():
        spellings.setdefault(re.sub("[/_.-]", "_", name), []).append(name)
    common: dict[str, str] = {}
    for names in spellings.values():
        one = not any(len(run.scores.keys() & {*names}) > 1 for run in runs)
        common |= {name: names[0] if one else name for name in names}
    for run in runs:
        run.scores = {common[name]: value for name, value in run.scores.items()}
        run.monitor = common.get(run.monitor or "", run.monitor)
    return common
