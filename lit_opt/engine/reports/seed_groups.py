"""Runs that differ in the seed alone are one group: what it has reached, in what groups differ."""

import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from lit_opt.engine.reports.compared_runs import NONE, ComparedRun


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
