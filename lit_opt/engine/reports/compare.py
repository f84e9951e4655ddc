"""`python train.py compare`: runs in one table and on one page, best validation first."""

import math
import statistics
import sys
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from textwrap import fill

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.terminal import columns
from lit_opt.engine.base.verb_parser import VerbParser
from lit_opt.engine.reports.compared_runs import (
    NONE,
    RUNS,
    ComparedRun,
    folders_named,
    newest_runs,
    runs_named,
    spell_alike,
)
from lit_opt.engine.reports.seed_groups import (
    SeedGroup,
    differing,
    grouped,
    is_better_low,
    made_by,
    metrics_of,
    monitored,
)
from lit_opt.engine.reports.significance import difference

PAGE = "compare.html"
CURVES_AT_MOST = 8  # curves over one another
COLUMNS_OF_LOG = 120  # of the table where stdout is no terminal
NAME_AT_MOST = 36  # letters of a run, a column or a value in the table


def compare(words: list[str]) -> None:
    """`python train.py compare [RUNS … | --all | --last 10] [--sort METRIC]`."""
    parser = VerbParser(
        "compare",
        "Lists runs by their validation metric; those that differ in the seed alone are one row, "
        "mean ± standard deviation. Of two runs or series it tells whether they differ by more "
        "than the seeds do.",
    )
    parser.add_argument("runs", nargs="*", help="run folders, or names in runs/; --last 10 if none")
    parser.add_argument("--all", action="store_true", help="all runs in runs/")
    parser.add_argument("--last", type=int, help="so many of the newest runs in runs/")
    parser.add_argument("--sort", help="a metric to sort by, such as test/acc")
    given = parser.parse_args(words)
    if given.last is not None and given.last < 1:
        raise UserError(f"--last {given.last}: expected how many runs to show, such as 10")
    if bool(given.runs) + given.all + (given.last is not None) > 1:
        raise UserError("name runs, or give --all, or --last: one of these")
    if given.runs:
        runs = runs_named(given.runs)
    else:
        runs = newest_runs(None if given.all else given.last or 10)
    sort = spell_alike(runs).get(given.sort, given.sort)
    groups = show(runs, sort, see=str(page_of(runs)))
    if groups and len(given.runs) == 2:
        _tell_difference(given.runs, runs, sort or monitored(groups))
    if groups:
        print(f"page: {write_page(groups, runs, sort)}")


def show(
    runs: list[ComparedRun], sort: str | None = None, see: str = "`python train.py compare`"
) -> list[SeedGroup]:
    """Prints the table; returns its groups, best first. `see`: where what has no room is."""
    groups = grouped(run for run in runs if run.counts)
    groups = ranked(groups, sort) if groups else []
    if groups:
        _print_table(groups, sort, see)
    for note in notes_of(groups, runs, sort):
        _print_filled(note)
    return groups


def ranked(groups: list[SeedGroup], sort: str | None) -> list[SeedGroup]:
    """Raises `UserError` if there is no such metric, or no validation metric at all."""
    metric = sort or monitored(groups)
    if metric is None or not any(group.values(metric) for group in groups):
        known = ", ".join(metrics_of(groups))
        told = "the runs have no validation metric" if sort is None else f"--sort {sort}"
        raise UserError(f"{told}; they measured {known}")
    sign = 1 if is_better_low(metric, groups) else -1
    return sorted(groups, key=lambda g: (math.isnan(g.mean(metric)), sign * g.mean(metric)))


def table_of(
    groups: list[SeedGroup], sort: str | None, implied: bool = True
) -> tuple[list[str], list[list[str]]]:
    """The header and the rows, what says most first.

    Name, number of runs, the metric that sorts and the same of the test; then the settings that
    differ, the other metrics and the time of a fit, those that most rows have first. `implied`:
    with the settings that only follow from a row's classes.
    """
    first = sort or monitored(groups) or ""
    twin = first.replace("val", "test", 1)
    metrics = sorted(metrics_of(groups), key=lambda name: (name != first, name != twin))
    columns_of = {name: [group.shown(name) for group in groups] for name in metrics}
    ahead = {name: columns_of.pop(name) for name in (first, twin) if name in columns_of}
    options = differing(groups, implied)
    of_all = {name: column for name, column in options.items() if NONE not in column}
    seconds = [group.shown_seconds() for group in groups]
    rest = of_all | columns_of | ({"seconds": seconds} if {*seconds} != {NONE} else {}) | options
    ahead |= dict(sorted(rest.items(), key=lambda item: item[1].count(NONE)))
    counts = [[group.name for group in groups], [str(len(group.runs)) for group in groups]]
    lines = zip(*counts, *ahead.values(), strict=True)
    return ["run", "n", *ahead], [list(line) for line in lines]


def _room() -> int:
    return columns() if sys.stdout.isatty() else COLUMNS_OF_LOG


def _print_filled(text: str) -> None:
    print(fill(text, _room(), break_long_words=False, break_on_hyphens=False))


def _shortened(name: str) -> str:
    half = min(NAME_AT_MOST, _room() // 2) // 2
    return name if len(name) <= 2 * half else f"{name[: half - 1]}…{name[-half:]}"


def _print_table(groups: list[SeedGroup], sort: str | None, see: str) -> None:
    """The first columns that there is room for, and how many more there are."""
    header, rows = table_of(groups, sort, implied=False)
    lines = [[_shortened(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    count = sum(end <= _room() for end in accumulate((w + 2 for w in widths), initial=-2)) - 1
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join(cells[:count]).rstrip())
    hidden = {*table_of(groups, sort)[0]} - {*header[:count]}
    settings = len(hidden & {*differing(groups)})
    scores = len(hidden) - settings
    told = [f"{scores} more score{'s' * (scores > 1)}"] if scores else []
    if settings:
        told.append(f"{settings} more setting{'s differ' if settings > 1 else ' differs'}")
    if told:
        _print_filled(f"{' and '.join(told)}: see {see}")


def notes_of(groups: list[SeedGroup], runs: list[ComparedRun], sort: str | None) -> list[str]:
    """What the order means, which runs are in no row, and what else differs."""
    notes = []
    if groups:
        metric = sort or monitored(groups) or ""
        low = "low is good" if is_better_low(metric, groups) else "high is good"
        notes.append(f"sorted by {metric} ({low}); ± is the standard deviation over seeds")
    notes += [f"not counted: {run.folder} ({run.state})" for run in runs if not run.counts]
    for what, counts in made_by(groups).items():
        told = ", ".join(f"{value} ({n})" for value, n in counts.items())
        notes.append(f"made by different {what}: {told}")
    return notes


def _tell_difference(words: Sequence[str], runs: list[ComparedRun], metric: str | None) -> None:
    if metric is None:
        return
    told, sides = f"{metric}, {words[0]} less {words[1]}", []
    for word in words:
        folders = {folder.resolve() for folder in folders_named(word)}
        named = [run for run in runs if run.folder.resolve() in folders]
        side = [run for run in named if run.counts and metric in run.scores]
        if (several := len(grouped(side))) > 1:
            print(f"{told}: no test: {word} has runs of {several} configurations, or a seed twice")
            return
        seeds = [run.folder if run.seed is None else run.seed for run in side]
        sides.append({str(k): run.scores[metric] for k, run in zip(seeds, side, strict=True)})
    _print_filled(f"{told}: {difference(*sides)}")


# ---- the page


def page_of(runs: list[ComparedRun]) -> Path:
    return (RUNS if RUNS.is_dir() else runs[0].folder.parent) / PAGE


def write_page(groups: list[SeedGroup], runs: list[ComparedRun], sort: str | None) -> Path:
    """Writes compare.html beside the runs' folders; returns its path."""
    from lit_opt.engine.reports.page import escaped, page, table
    from lit_opt.engine.runs.atomic_file import write_text

    header, rows = table_of(groups, sort)
    rows = [[cell.replace(" ± ", "\xa0±\xa0") for cell in row] for row in rows]
    notes = "".join(f"<p class=note>{escaped(note)}</p>" for note in notes_of(groups, runs, sort))
    sections = [("Scores", table(header, rows, "scores") + notes), *_curves(groups)]
    path = page_of(runs)
    write_text(path, page(f"{len(groups)} configurations, {len(runs)} runs", sections))
    return path


def _curves(groups: list[SeedGroup]) -> list[tuple[str, str]]:
    """A chart a validation or training metric, a curve a group: the mean over its seeds."""
    from lit_opt.engine.reports.charts import curve_chart
    from lit_opt.engine.reports.curves import Curves, as_table
    from lit_opt.engine.reports.page import figure

    shown = {group.name: _mean_curves(group) for group in groups[:CURVES_AT_MOST]}
    names = sorted({name for curves in shown.values() for name in curves})
    order = sorted(names, key=lambda name: (not name.startswith("val"), name))
    html = ""
    for name in order:
        lines = {label: curves[name] for label, curves in shown.items() if name in curves}
        percent = name.endswith("acc")
        spec = curve_chart(lines, "epoch", name, percent=percent, colours=list(shown))
        html += figure(name, spec, as_table(Curves(name, "epoch", lines)))
    cut = f"; the first {len(shown)} of {len(groups)}" if len(groups) > len(shown) else ""
    about = f"<p class=note>Means over the seeds{cut}.</p>"
    return [("Curves", f'{about}<div class="grid">{html}</div>')] if html else []


def _mean_curves(group: SeedGroup) -> dict[str, list[tuple[float, float]]]:
    """Points (epoch from 1, mean) of what the runs logged by the epoch."""
    from lit_opt.engine.runs.metrics_file import read_rows

    values: dict[str, dict[float, list[float]]] = {}
    for run in group.runs:
        path = run.folder / "metrics.csv"
        for row in read_rows(path, keeps=False).values() if path.is_file() else ():
            for name, value in row.items():
                if row.get("epoch") and name.startswith(("train", "val")) and name.count("/") < 2:
                    at = float(row["epoch"]) + 1
                    values.setdefault(name, {}).setdefault(at, []).append(float(value))
    return {
        name: [(at, statistics.mean(found)) for at, found in sorted(points.items())]
        for name, points in values.items()
    }
