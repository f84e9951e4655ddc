"""Runs side by side: what their folders say, and which of them differ in the seed alone."""

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
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


@dataclass
class SeedGroup:
    """Runs whose configurations differ in the seed alone; `name` is their common beginning."""

    runs: list[ComparedRun]
    name: str = ""

    def values(self, metric: str) -> list[float]:
        return [run.scores[metric] for run in self.runs if metric in run.scores]

    def shown_seconds(self) -> str:
        """Mean and standard deviation of the time that a fit took, if all runs know theirs."""
        known = [run.seconds for run in self.runs if run.seconds is not None]
        if len(known) < len(self.runs):
            return NONE
        spread = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
        return f"{statistics.mean(known):.1f}{spread}"

    def mean(self, metric: str) -> float:
        values = self.values(metric)
        return statistics.mean(values) if values else math.nan

    def shown(self, metric: str) -> str:
        """`0.9305 ± 0.0021`: the mean and the standard deviation (n - 1 in its denominator)."""
        values = self.values(metric)
        if not values:
            return NONE
        largest = max(map(abs, values))
        form = ".4f" if largest < 100 else ".1f"
        if largest >= 1e6 or 0 < largest < 1e-3:
            form = ".4g"
        spread = f" ± {statistics.stdev(values):{form}}" if len(values) > 1 else ""
        few = f" ({len(values)} of {len(self.runs)})" if len(values) < len(self.runs) else ""
        return f"{statistics.mean(values):{form}}{spread}{few}"


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


def grouped(runs: Iterable[ComparedRun]) -> list[SeedGroup]:
    """Groups in the order of their first runs; of two runs with one seed each has its own group."""
    groups: list[SeedGroup] = []
    for run in runs:
        for group in groups:
            seeds = {other.seed for other in group.runs}
            if group.runs[0].options == run.options and run.seed not in seeds:
                group.runs.append(run)
                break
        else:
            groups.append(SeedGroup([run]))
    names = [_common_name([run.folder.name for run in group.runs]) for group in groups]
    for k, group in enumerate(groups):
        before = names[:k].count(names[k])
        group.name = f"{names[k]} ({before + 1})" if before else names[k]
    return groups


def _common_name(names: list[str]) -> str:
    """What the names begin with, without the mark of a seed."""
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda letters: len({*letters}) == 1, zip(*names, strict=False))
    start = "".join(letters[0] for letters in same)
    return re.sub(r"[-_.=]*(seed[-_.=]*)?\d*$", "", start) or names[0]


def differing(groups: list[SeedGroup], implied: bool = True) -> dict[str, list[str]]:
    """The options in which the groups differ, by short names, with each group's value.

    `implied`: with those that follow from a class, if anything else differs.
    """
    options = [group.runs[0].options for group in groups]
    names = list(dict.fromkeys(name for each in options for name in each))
    values = {name: [each.get(name, NONE) for each in options] for name in names}
    found = {name: column for name, column in values.items() if len(set(column)) > 1}
    short = [name.split(".", 1)[-1] for name in found]
    left_out = set() if implied else _implied(found)
    return {
        brief if short.count(brief) == 1 else name: column
        for (name, column), brief in zip(found.items(), short, strict=True)
        if name not in left_out
    }


def _implied(found: dict[str, list[str]]) -> set[str]:
    """The options `x.*` that a run only lacks because its `x` is of another class.

    They are the same in all runs that have them. With them, those that are none or lacking. No
    option if nothing but such classes differs.
    """

    def classes(name: str) -> set[str]:
        return {x for x in found if name.startswith(f"{x}.")}

    lacked = {name for name, column in found.items() if NONE in column and len({*column}) == 2}
    implied = {name for name in lacked if classes(name) or {*found[name]} == {NONE, "none"}}
    owners = {owner for name in implied for owner in classes(name)}
    return implied if found.keys() - implied - owners else set()


# ---- by which metric


def monitored(groups: list[SeedGroup]) -> str | None:
    """The validation metric that most groups have: what chose their checkpoints, or their loss."""
    wanted = [group.runs[0].monitor for group in groups]
    wanted += ["val/loss", *(name for name in metrics_of(groups) if name.startswith("val"))]
    have = {name: sum(bool(group.values(name)) for group in groups) for name in wanted if name}
    return max(have, key=lambda name: have[name], default=None) if any(have.values()) else None


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


def is_better_low(metric: str, groups: list[SeedGroup]) -> bool:
    """Whether low values are good: what the runs said of it, or else whether it is an error."""
    for run in (run for group in groups for run in group.runs):
        if run.monitor == metric and run.mode:
            return run.mode == "min"
    errors = r"(^|[/_.-])(loss|err|error|mae|mse|rmse|nll|perplexity)\b|(loss|error)$"
    return bool(re.search(errors, metric, re.IGNORECASE))


def metrics_of(groups: list[SeedGroup]) -> list[str]:
    """Validation first, then test; one number a class is left to the reports."""
    names = {name for group in groups for run in group.runs for name in run.scores}
    named = [name for name in names if name.count("/") < 2]
    return sorted(named, key=lambda name: (not name.startswith("val"), name.endswith("loss"), name))


def made_by(groups: list[SeedGroup]) -> dict[str, dict[str, int]]:
    """In which circumstances the runs differ: what it is, and of each the number of runs."""
    found: dict[str, dict[str, int]] = {}
    for run in (run for group in groups for run in group.runs):
        for what, value in run.made_by.items():
            counts = found.setdefault(what, {})
            counts[value] = counts.get(value, 0) + 1
    return {what: counts for what, counts in found.items() if len(counts) > 1}
