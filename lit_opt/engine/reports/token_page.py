"""The part of the page on text: what the net writes, and what it expected at each place."""

from lit_opt.engine.reports.charts import ChartSpec, curve_chart, thinned
from lit_opt.engine.reports.page import escaped, figure, table
from lit_opt.engine.reports.run_record import Kept


def token_sections(kept: Kept) -> list[tuple[str, str]]:
    """`kept`: of TokenOutcomes."""
    told = (
        f"<p>{kept['tokens']:,} tokens: perplexity {kept['perplexity']:.4g}, "
        f"{kept['accuracy']:.1%} of them are the likeliest.</p>"
    )
    expected = "".join(_marked(text, kept["joined"]) for text in kept["texts"])
    note = (
        "<p>Marked tokens are not those that the net held for the likeliest; point at one to see "
        "which it was.</p>"
    )
    parts = [("Samples", told + note + expected), ("Loss by place", _by_place(kept))]
    if kept["written"]:
        written = "".join(_continued(text, kept["joined"]) for text in kept["written"])
        how = "<p>Drawn at temperature 0.8 after the text in grey.</p>"
        parts.insert(1, ("What it writes", how + written))
    return parts


def token_figures(kept: Kept) -> dict[str, ChartSpec]:
    """By their names."""
    return {"loss by place": _chart(kept)}


def _continued(text: Kept, joined: str) -> str:
    given, added = (escaped(joined.join(text[key])) for key in ("given", "added"))
    name = escaped(text["name"])
    return f'<p class="small">{name}</p><pre class="text"><span>{given}</span>{added}</pre>'


def _marked(text: Kept, joined: str) -> str:
    words = [
        escaped(true)
        if true == pred
        else f'<mark title="{escaped(f"expected {pred!r}")}">{escaped(true)}</mark>'
        for true, pred in zip(text["true"], text["pred"], strict=True)
    ]
    name = escaped(text["name"])
    return f'<p class="small">{name}</p><pre class="text">{joined.join(words)}</pre>'


def _points(kept: Kept) -> list[tuple[float, float]]:
    return [(float(place + 1), loss) for place, loss in enumerate(kept["by_place"])]


def _chart(kept: Kept) -> ChartSpec:
    return curve_chart({"loss": _points(kept)}, "place", "loss")


def _by_place(kept: Kept) -> str:
    rows = [[int(place), loss] for place, loss in thinned(_points(kept), 50)]
    note = "the mean loss of the first, second, … token of a sample: what more context is worth"
    return figure("Loss by place", _chart(kept), table(["place", "loss"], rows, "Loss"), note)
