"""The part of the page on a class for every place: overlays, overlap, confusion matrix."""

from lit_opt.engine.reports.cards import Card, cards
from lit_opt.engine.reports.charts import ChartSpec
from lit_opt.engine.reports.class_page import ROWS, matrix_chart, matrix_of, rounded, tinted
from lit_opt.engine.reports.mask_outcomes import HUES
from lit_opt.engine.reports.page import escaped, table
from lit_opt.engine.reports.run_record import Kept


def mask_sections(kept: Kept) -> list[tuple[str, str]]:
    """`kept`: of MaskOutcomes."""
    names = kept["names"]
    rows = [[name, *row] for name, row in zip(names, kept["classes"], strict=True)]
    rows = rows if len(rows) <= ROWS else sorted(rows, key=lambda row: row[1])[:ROWS]
    header = ["class", "IoU", "precision", "recall", "places"]
    note = "Numbers are shares of the row's places."
    parts = [
        ("Classes", table(header, rounded(rows), "Classes")),
        ("Confusion matrix", matrix_of(kept, note, _cell)),
    ]
    if any(sample["pictures"] for sample in kept["worst"]):
        worst = _picture_cards(kept["worst"])
        parts.insert(0, ("Most wrong pictures", f"{_legend(kept)}{worst}"))
        parts.insert(1, ("The first pictures", _picture_cards(kept["first"])))
    return parts


def mask_figures(kept: Kept) -> dict[str, ChartSpec]:
    """By their names."""
    return {"confusion-matrix": matrix_chart(kept)}


def _cell(count: int, total: int, true: int, pred: int, names: list[str]) -> str:
    share = count / total
    about = f"{count:,} places of {names[true]} predicted as {names[pred]}"
    return f'<span {tinted(share, true == pred)} title="{escaped(about)}">{share:.1%}</span>'


def _legend(kept: Kept) -> str:
    used = {k for k, row in enumerate(kept["classes"]) if row[3]} - {kept["usual"]}
    items = "".join(
        f'<li><i style="background:{HUES[k % len(HUES)]}"></i>{escaped(kept["names"][k])}</li>'
        for k in sorted(used)[:40]
    )
    usual = escaped(kept["names"][kept["usual"]])
    return f'<ul class="legend">{items}<li>no colour: {usual}, or not counted</li></ul>'


def _picture_cards(samples: list[Kept]) -> str:
    shows = ["picture", "true", "predicted"]
    shown = [
        Card(
            list(zip(sample["pictures"], shows[-len(sample["pictures"]) :], strict=True)),
            f"{sample['wrong']:.1%} of its places are wrong",
            name=sample["name"],
        )
        for sample in samples
    ]
    return cards(shown, wide=True)
