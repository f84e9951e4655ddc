"""The parts of the page on outcomes.json, by the kind of the targets."""

from collections.abc import Callable
from typing import Any

from lit_opt.engine.reports.charts import ChartSpec
from lit_opt.engine.reports.class_page import class_figures, class_sections
from lit_opt.engine.reports.label_page import label_figures, label_sections
from lit_opt.engine.reports.mask_page import mask_figures, mask_sections
from lit_opt.engine.reports.number_page import number_figures, number_sections
from lit_opt.engine.reports.page import escaped
from lit_opt.engine.reports.token_page import token_figures, token_sections

Sections = Callable[[dict[str, Any]], list[tuple[str, str]]]
Figures = Callable[[dict[str, Any]], dict[str, ChartSpec]]
PARTS: dict[str, tuple[Sections, Figures]] = {
    "classes": (class_sections, class_figures),
    "labels": (label_sections, label_figures),
    "numbers": (number_sections, number_figures),
    "masks": (mask_sections, mask_figures),
    "tokens": (token_sections, token_figures),
}
WHY = {
    "val": "The validation set, not the test set: what is looked at to improve a model "
    "must not be what measures it at the end.",
    "test": "The test set, as there is no validation set.",
}


def outcome_sections(kept: dict[str, Any]) -> list[tuple[str, str]]:
    """Headings and HTML; none where nothing was collected."""
    if kept.get("kind") not in PARTS:
        return []
    (heading, html), *others = PARTS[kept["kind"]][0](kept)
    split = "validation" if kept["split"] == "val" else "test"
    told = f"{kept['n']:,} {split} samples, scored by {kept['of']}. {WHY[kept['split']]}"
    return [(heading, f'<p class="note">{escaped(told)}</p>{html}'), *others]


def outcome_figures(kept: dict[str, Any]) -> dict[str, ChartSpec]:
    """By their names."""
    return PARTS[kept["kind"]][1](kept) if kept.get("kind") in PARTS else {}
