"""The part of the page on regression: predicted against true, and the residuals."""

from lit_opt.engine.reports.cards import Card, cards
from lit_opt.engine.reports.charts import ChartSpec, chart
from lit_opt.engine.reports.page import figure, readable, table
from lit_opt.engine.reports.run_record import Kept


def number_sections(kept: Kept) -> list[tuple[str, str]]:
    """`kept`: of NumberOutcomes."""
    several = len(kept["outputs"]) > 1
    rows = [
        [f"output {k}" if several else "all", *(s[key] for key in ("mae", "rmse", "r2", "bias"))]
        for k, s in enumerate(kept["outputs"])
    ]
    header = ["", "mean absolute error", "root mean square", "R²", "mean error"]
    few = ""
    if several and len(kept["pairs"]) < len(rows):
        few = f"<p>The first {len(kept['pairs'])} of {len(rows)} outputs are drawn.</p>"
    figures = "".join(
        _figures(k, several, pairs, bars)
        for k, (pairs, bars) in enumerate(zip(kept["pairs"], kept["residuals"], strict=True))
    )
    shown = table(header, rows[:100], "Errors") + f'{few}<div class="grid">{figures}</div>'
    return [("Predicted against true", shown), ("Largest errors", _largest(kept))]


def number_figures(kept: Kept) -> dict[str, ChartSpec]:
    """By their names."""
    figures: dict[str, ChartSpec] = {}
    for k, (pairs, bars) in enumerate(zip(kept["pairs"], kept["residuals"], strict=True)):
        figures |= {f"predicted {k}": scatter_chart(pairs), f"residuals {k}": bar_chart(bars)}
    return figures


def _figures(k: int, several: bool, pairs: list[list[float]], bars: list[list[float]]) -> str:
    of = f" of output {k}" if several else ""
    some = pairs[:: -(-len(pairs) // 50)] if pairs else []
    note = f"{len(pairs):,} values, evenly taken; on the dashed line they are equal"
    listed = table(["true", "predicted"], some, "Predicted and true values")
    first = figure(f"Predicted against true{of}", scatter_chart(pairs), listed, note)
    listed = table(["from", "to", "values"], [[*b[:2], int(b[2])] for b in bars], "Residuals")
    note = "predicted minus true; left of 0 it is too low"
    return first + figure(f"Residuals{of}", bar_chart(bars), listed, note)


def scatter_chart(pairs: list[list[float]]) -> ChartSpec:
    """Points (true, predicted) and the line on which both are equal."""
    rows = [{"true": float(f"{t:.5g}"), "pred": float(f"{p:.5g}")} for t, p in pairs]
    ends = [min(map(min, pairs), default=0.0), max(map(max, pairs), default=1.0)]
    scale = {"domain": ends, "nice": True}
    axes: ChartSpec = {
        "x": {"field": "true", "type": "quantitative", "title": "true", "scale": scale},
        "y": {"field": "pred", "type": "quantitative", "title": "predicted", "scale": scale},
        "tooltip": [{"field": "true"}, {"field": "pred", "title": "predicted"}],
    }
    low, high = ends
    line = {"x": {"datum": low}, "y": {"datum": low}, "x2": {"datum": high}, "y2": {"datum": high}}
    points = {"mark": {"type": "point", "filled": True, "size": 22, "opacity": 0.55}}
    rule = {"mark": {"type": "rule", "strokeDash": [4, 4]}, "encoding": line}
    return chart(rows, height=300, layer=[points | {"encoding": axes}, rule])


def bar_chart(bars: list[list[float]]) -> ChartSpec:
    """A histogram."""
    rows = [{"low": low, "high": high, "n": n} for low, high, n in bars]
    axes: ChartSpec = {
        "x": {"field": "low", "type": "quantitative", "title": "predicted - true"},
        "x2": {"field": "high"},
        "y": {"field": "n", "type": "quantitative", "title": "values"},
        "y2": {"datum": 0},
        "tooltip": [
            {"field": "low", "title": "from", "format": ".3~g"},
            {"field": "high", "title": "to", "format": ".3~g"},
            {"field": "n", "title": "values"},
        ],
    }
    axes["x"]["scale"] = {"zero": False, "nice": False}
    return chart(rows, height=300, mark={"type": "bar", "opacity": 0.75}, encoding=axes)


def _largest(kept: Kept) -> str:
    def told(values: list[float] | None) -> str:
        return ", ".join(readable(v) for v in (values or [])[:4]) + (
            ", …" if len(values or []) > 4 else ""
        )

    if any(sample["picture"] for sample in kept["samples"]):
        return cards(
            Card(
                [(s["picture"], "")] if s["picture"] else [],
                f"true {told(s['true'])}" if s["true"] else s["name"],
                f"predicted {told(s['pred'])}" if s["pred"] else "",
                s["name"] if s["true"] else "",
            )
            for s in kept["samples"]
        )
    rows = [[s["name"], told(s["true"]), told(s["pred"])] for s in kept["samples"]]
    return table(["sample", "true", "predicted"], rows, "Largest errors")
