"""Charts as Vega-Lite specs, plain dicts without colours: a page or a file gives them its theme."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lit_opt.engine.base.errors import RunError, UserError
from lit_opt.engine.runs.atomic_file import write_text

POINTS = 300  # of a curve; more can't be told apart on a screen
Points = Sequence[tuple[float, float]]
ChartSpec = dict[str, Any]


def curve_chart(
    curves: Mapping[str, Points],
    x: str,
    y: str,
    *,
    best: float | None = None,
    percent: bool = False,
    colours: Sequence[str] = (),
) -> ChartSpec:
    """Lines over one another: a name to its points (x, y); nan and infinity are gaps.

    Args:
        curves: The first one gets the accent colour, unless `colours` says otherwise.
        x: Title of the axis, such as "epoch".
        y: Title of the axis.
        best: The x that a rule marks.
        percent: Whether y in [0, 1] is shown in percent.
        colours: Names in the order in which they get the theme's colours. Default: the curves'.
    """
    rows = [
        {"x": at, "y": float(f"{value:.6g}") if math.isfinite(value) else None, "series": name}
        for name, points in curves.items()
        for at, value in thinned(points)
    ]
    form = ".1%" if percent else ".4~g"
    tooltip = [
        {"field": "series", "title": "curve"},
        {"field": "x", "title": x, "type": "quantitative"},
        {"field": "y", "title": y, "type": "quantitative", "format": form},
    ]
    up = {"field": "y", "type": "quantitative", "title": y, "scale": _scale_of(rows)}
    up["axis"] = {"format": "~%" if percent else "~g"}
    several = {"orient": "top", "title": None, "values": list(curves)}
    legend = several if len(curves) > 1 else None
    hue = {"field": "series", "type": "nominal", "legend": legend}
    hue["scale"] = {"domain": list(colours or curves)}
    encoding = {"x": _across(curves, x), "y": up, "color": hue}
    layers: list[ChartSpec] = [{"mark": {"type": "line", "strokeWidth": 2}, "encoding": encoding}]
    if best is not None:
        layers.append(_rule_at(best))
    alone = min((len(points) for points in curves.values()), default=0) < 2
    layers.append(_points_of(encoding | {"tooltip": tooltip}, always=alone))
    return chart(rows, layer=layers)


def _across(curves: Mapping[str, Points], title: str) -> ChartSpec:
    across: ChartSpec = {"field": "x", "type": "quantitative", "title": title}
    places = sorted({x for points in curves.values() for x, _ in points})
    across["axis"] = {"format": "~s" if places[-1:] > [9999] else ",d"}
    if len(places) <= 12:  # no epoch 1.5
        across["axis"] = {"values": places, "format": ",d", "labelOverlap": True}
    return across | {"scale": {"nice": False}}


def _points_of(encoding: ChartSpec, always: bool) -> ChartSpec:
    """The points that tell their values; they are seen where the pointer is near, or `always`."""
    near = {"type": "point", "on": "pointerover", "nearest": True, "clear": "pointerout"}
    shown = {"condition": {"param": "near", "empty": False, "value": 1}, "value": 0}
    return {
        "mark": {"type": "point", "filled": True, "size": 60},
        "params": [{"name": "near", "select": near}],
        "encoding": encoding | {"opacity": {"value": 1} if always else shown},
    }


def _scale_of(rows: list[dict[str, Any]]) -> ChartSpec:
    """Not from 0 on; a tenth of the value around one that is always the same."""
    values = {row["y"] for row in rows} - {None}
    if len(values) != 1:
        return {"zero": False}
    value = values.pop()
    margin = abs(value) / 10 or 1
    return {"domain": [value - margin, value + margin]}


def _rule_at(x: float) -> ChartSpec:
    return {
        "data": {"values": [{"x": x}]},
        "mark": {"type": "rule", "strokeDash": [4, 4]},
        "encoding": {"x": {"field": "x", "type": "quantitative"}},
    }


def chart(rows: list[dict[str, Any]], height: int = 220, **parts: Any) -> ChartSpec:
    """A chart of `rows`, as wide as the page; `parts` are a spec's mark, encoding or layer."""
    spec: ChartSpec = _on_one_line(parts | {"data": {"values": rows}})
    schema = "https://vega.github.io/schema/vega-lite/v6.json"
    return {"$schema": schema, "width": "container", "height": height, **spec}


def _on_one_line(part: Any) -> Any:
    """Line ends in names as spaces: Vega's expressions can't hold U+2028 or U+2029."""
    if isinstance(part, dict):
        return {key: _on_one_line(inner) for key, inner in part.items()}
    if isinstance(part, list):
        return [_on_one_line(inner) for inner in part]
    return " ".join(part.splitlines()) if isinstance(part, str) else part


def thinned(points: Points, most: int = POINTS) -> Points:
    """At most that many of them, evenly taken, the first and the last among them."""
    if len(points) <= most:
        return points
    places = [round(k * (len(points) - 1) / (most - 1)) for k in range(most)]
    return [points[place] for place in places]


# ---- colours, and the library that draws

LIGHT = ["#0b5cad", "#6b7280", "#b45309", "#15803d", "#7e22ce", "#be185d", "#0f766e", "#854d0e"]
DARK = ["#6cb2ff", "#a3acb9", "#f0a04b", "#5fd38d", "#c79bff", "#ff8ab8", "#4fd1c5", "#e5c558"]


def theme(dark: bool) -> dict[str, Any]:
    """Vega-Lite's `config` for a light or a dark page."""
    text, line = ("#c9d1d9", "#3a424d") if dark else ("#3d4450", "#dfe3e8")
    colours = DARK if dark else LIGHT
    lines = dict.fromkeys(("gridColor", "domainColor", "tickColor"), line)
    words = {"labelColor": text, "titleColor": text, "labelFontSize": 12, "titleFontSize": 12}
    return {
        "background": "transparent",
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": lines | words | {"titleFontWeight": 400},
        "legend": words | {"symbolType": "stroke"},
        "title": {"color": text},
        "range": {"category": colours, "heatmap": ["#1d232a" if dark else "#f6f8fa", colours[0]]},
        "line": {"color": colours[0]},
        "bar": {"color": colours[0]},
        "point": {"color": colours[0]},
        "rule": {"color": text},
        "text": {"color": text},
    }


@cache
def vega_bundle() -> str | None:
    """Vega, Vega-Lite and Vega-Embed as one script; None if vl-convert-python isn't installed.

    Starting its JavaScript engine takes a second, so the script is kept in the user's cache folder.
    """
    try:
        import vl_convert

        library: Any = vl_convert  # its types ask for an argument that is optional
    except ImportError:
        return None
    with suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        kept = Path(home) / "lit-opt" / f"vega-{version('vl-convert-python')}.js"
        if not kept.is_file():
            with suppress(RunError):
                write_text(kept, library.javascript_bundle())
        return kept.read_text(encoding="utf-8")
    return str(library.javascript_bundle())


def save_figure(spec: ChartSpec, path: Path) -> None:
    """Draws a spec on white, 640 pixels wide, as its suffix says: .svg, or .png at twice the size.

    Raises:
        UserError: if vl-convert-python isn't installed.
    """
    try:
        import vl_convert
    except ImportError:
        raise UserError("PNG and SVG need vl-convert: pip install vl-convert-python") from None
    spec = json.loads(json.dumps(spec))
    spec["width"] = 640
    config = theme(dark=False) | {"background": "#ffffff"}
    if path.suffix == ".svg":
        write_text(path, vl_convert.vegalite_to_svg(spec, config=config))
    else:
        write_text(path, vl_convert.vegalite_to_png(spec, config=config, scale=2))
