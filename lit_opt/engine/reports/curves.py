"""Curves out of metrics.csv: one chart a metric, its stages over one another."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from lit_opt.engine.reports.charts import ChartSpec, curve_chart, thinned
from lit_opt.engine.reports.page import figure, table
from lit_opt.engine.reports.run_record import CurveRow, RunRecord

STAGES = {"val": "validation", "valid": "validation", "validation": "validation"}
STAGES |= {"train": "training", "training": "training", "test": "test"}
ORDER = ["validation", "training", "test"]  # the first one has the accent colour
NAME = re.compile(rf"({'|'.join(sorted(STAGES, key=len, reverse=True))})[/_.-](.+)", re.IGNORECASE)
CHARTS, LINES = 24, 8  # at most
BATCHES = " of single batches"


@dataclass
class Curves:
    """One chart: `lines` are names with their points (x, y).

    `x` is "epoch", or "optimizer step" where a metric was logged more than once an epoch.
    """

    title: str
    x: str
    lines: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def of_stages(self) -> bool:
        """Whether it is a metric of training, validation or test."""
        return set(self.lines) <= set(ORDER) and not self.title.endswith(BATCHES)

    @property
    def percent(self) -> bool:
        values = [y for points in self.lines.values() for _, y in points]
        accuracy = self.title.split(" ")[0].lower().endswith(("acc", "accuracy"))
        return accuracy and max(values, default=0) <= 1

    def spec(self, best: float | None = None) -> ChartSpec:
        """`best`: the x to be marked."""
        colours = ORDER if set(self.lines) <= set(ORDER) else ()
        return curve_chart(
            self.lines, self.x, self.title, best=best, percent=self.percent, colours=colours
        )


def curves_of(rows: list[CurveRow]) -> list[Curves]:
    """The loss first, then the other metrics, then what is logged by the step, such as lr."""
    names = sorted({key for row in rows for key in row} - {"step", "epoch"}, key=_rank)
    by_epoch = _logged_once_an_epoch(rows)
    of_step = {_place(name)[0] for name in names if name not in by_epoch}
    charts: dict[str, Curves] = {}
    for name in names:
        title, line = _place(name)
        x = "optimizer step" if title in of_step else "epoch"
        chart = charts.setdefault(title, Curves(title, x))
        chart.lines[line] = [(_at(row, x), row[name]) for row in rows if name in row]
    return sorted(charts.values(), key=lambda chart: (not chart.of_stages, chart.title != "loss"))


def _at(row: CurveRow, x: str) -> float:
    """Epochs count from 1; Lightning notes its scores under the step before."""
    return row["epoch"] + 1 if x == "epoch" else row["step"] + ("epoch" in row)


def _logged_once_an_epoch(rows: list[CurveRow]) -> set[str]:
    """Names with a value in rows that carry an epoch only, and in none of an epoch two."""
    seen: set[tuple[str, float]] = set()
    found: set[str] = set()
    out: set[str] = set()
    for row in rows:
        for name in row.keys() - {"step", "epoch"}:
            at = (name, row.get("epoch", -1.0))
            (out if "epoch" not in row or at in seen else found).add(name)
            seen.add(at)
    return found - out


def _place(name: str) -> tuple[str, str]:
    """The chart of a metric and its line in it: `val/f1/cat` is `cat` in "f1, validation"."""
    match = NAME.fullmatch(name)
    if not match:
        return name, name
    stage, metric = STAGES[match[1].lower()], re.sub("_epoch$", "", match[2])
    if "/" in metric:
        metric, _, part = metric.partition("/")
        return f"{metric}, {stage}", part
    if metric.endswith("_step"):
        return f"{metric.removesuffix('_step')}{BATCHES}", stage
    return metric, stage


def _rank(name: str) -> tuple[int, str]:
    line = _place(name)[1]
    return (ORDER.index(line) if line in ORDER else len(ORDER), name)


# ---- HTML


def curve_sections(run: RunRecord) -> list[tuple[str, str]]:
    """Headings and their HTML: metrics, then what else is logged, such as lr."""
    charts = curves_of(run.rows)
    if not charts:
        return [("Curves", "<p>Nothing was logged.</p>")]
    sections = []
    for heading, of_stages in (("Curves", True), ("Learning rate and steps", False)):
        shown = [chart for chart in charts[:CHARTS] if chart.of_stages == of_stages]
        if shown:
            figures = "".join(_figure(chart, run) for chart in shown)
            sections.append((heading, f'{_about(run)}<div class="grid">{figures}</div>'))
    if charts[CHARTS:]:
        heading, html = sections[-1]
        more = f"<p>{len(charts) - CHARTS} more are in metrics.csv.</p>"
        sections[-1] = heading, html + more
    return sections


def _about(run: RunRecord) -> str:
    if not run.best:
        return ""
    epoch, step = run.best["epoch"] + 1, run.best["step"]
    return f'<p class="note">Dashed: epoch {epoch}, step {step:,}, of best.ckpt.</p>'


def _figure(chart: Curves, run: RunRecord) -> str:
    lines = dict(list(chart.lines.items())[:LINES])
    note = ""
    if len(lines) < len(chart.lines):
        note = f"the first {LINES} of {len(chart.lines)}; all of them are in metrics.csv"
    drawn = Curves(chart.title, chart.x, lines)
    return figure(chart.title, drawn.spec(best_of(run, chart.x)), as_table(drawn), note)


def best_of(run: RunRecord, x: str) -> float | None:
    """Where best.ckpt stands on the axis x."""
    if not run.best:
        return None
    return float(run.best["epoch"] + 1 if x == "epoch" else run.best["step"])


def as_table(chart: Curves) -> str:
    """The points of a chart, at most 50 rows."""
    places = sorted({x for points in chart.lines.values() for x, _ in points})
    values = {name: dict(points) for name, points in chart.lines.items()}
    header = [chart.x, *chart.lines]
    return table(header, list(_lines_of(values, places)), chart.title)


def _lines_of(values: dict[str, dict[float, float]], places: list[float]) -> Iterable[list[object]]:
    for x, _ in thinned([(x, x) for x in places], 50):
        yield [int(x), *(points.get(x) for points in values.values())]
