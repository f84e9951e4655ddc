"""One HTML page that needs no network: style, script and charts are inside it.

Whatever comes from a run goes through `escaped` or `json_inside`.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lit_opt.engine.reports.charts import ChartSpec, theme, vega_bundle

ROOM = Path(__file__).parent
NO_CHARTS = "The charts are drawn once vl-convert is installed: pip install vl-convert-python"
# Nothing is loaded; Vega compiles its expressions with `Function`.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
POLICY += "script-src 'unsafe-inline' 'unsafe-eval'"


def page(title: str, sections: Iterable[tuple[str, str]], lead: str = "") -> str:
    """The page; a section is a heading, plain text, and HTML. `lead` is HTML before them."""
    parts = "".join(
        f"<section><h2>{escaped(heading)}</h2>\n{html}</section>\n" for heading, html in sections
    )
    bundle = vega_bundle()
    scripts = [f"const THEMES = {json_inside({'light': theme(False), 'dark': theme(True)})};"]
    scripts = [bundle.replace("</script", "<\\/script"), *scripts] if bundle else []
    scripts.append((ROOM / "page.js").read_text(encoding="utf-8"))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{escaped(POLICY)}">
<title>{escaped(title)}</title>
<style>{(ROOM / "page.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<h1>{escaped(title)}</h1>
{lead}
{parts}{"" if bundle else f"<p>{NO_CHARTS}</p>"}
</main>
{"".join(f"<script>{script}</script>{chr(10)}" for script in scripts)}</body>
</html>
"""


def figure(caption: str, spec: ChartSpec, alternative: str, note: str = "") -> str:
    """A chart under its caption, with `alternative`, HTML that says the same without a picture."""
    about = f'<p class="note">{escaped(note)}</p>' if note else ""
    described = {"description": f"{caption}; the same as a table follows", **spec}
    return (
        f"<figure><figcaption>{escaped(caption)}</figcaption>{about}"
        f'<div class="chart"></div>'
        f'<script type="application/json">{json_inside(described)}</script>'
        f"<details><summary>as a table</summary>{alternative}</details></figure>\n"
    )


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], label: str = "table") -> str:
    """A table that scrolls by itself where the page is narrow; numbers stand to the right."""
    rows = [list(row) for row in rows]
    columns = [[row[k] for row in rows] for k in range(len(header))]
    right = [' class="number"' if _are_numbers(column) else "" for column in columns]
    right[:1] = [""]  # the names of the rows, be they numbers
    head = _row("th", header, right)
    body = "".join(f"<tr>{_row('td', row, right)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(kind: str, values: Iterable[Any], classes: list[str]) -> str:
    return "".join(
        f"<{kind}{' scope=col' if kind == 'th' else ''}{name}>{escaped(readable(value))}</{kind}>"
        for value, name in zip(values, classes, strict=True)
    )


def _are_numbers(column: Sequence[Any]) -> bool:
    return all(re.fullmatch(r"-?[\d.,]*(e[-+]\d+)?%?", readable(value)) for value in column)


def readable(value: Any) -> str:
    """A number in four significant digits, an integer whole; nothing for None."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)


def escaped(text: Any) -> str:
    """Text as it may stand in HTML and in an attribute."""
    return escape(str(text), quote=True)


def json_inside(value: Any) -> str:
    """JSON as it may stand in a script element: no `<` can end it."""
    text = json.dumps(_finite(value), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(value: Any) -> Any:
    """The same with null for nan and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
