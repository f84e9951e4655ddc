"""The part of the page on several labels a sample."""

from lit_opt.engine.reports.cards import Card, cards
from lit_opt.engine.reports.charts import ChartSpec
from lit_opt.engine.reports.class_page import (
    ROWS,
    calibration_chart,
    calibration_figure,
    rounded,
)
from lit_opt.engine.reports.page import table
from lit_opt.engine.reports.run_record import Kept

AXIS = "share that is there"


def label_sections(kept: Kept) -> list[tuple[str, str]]:
    """`kept`: of LabelOutcomes."""
    names = kept["names"]
    rows = [[name, *row] for name, row in zip(names, kept["labels"], strict=True)]
    told = ""
    if len(rows) > ROWS:
        told = f"<p>The {ROWS} of {len(rows):,} labels with the lowest F1.</p>"
        rows = sorted(rows, key=lambda row: row[3])[:ROWS]
    header = ["label", "precision", "recall", "F1", "samples"]
    formula = (
        "Σ n_m / N · |share_m - probability_m| over 15 equal bins m of the probability, all labels "
        "together (Guo et al. 2017, eq. 3, with the share of labels that are there for accuracy)."
    )
    title = "Share of labels that are there, by their probability"
    return [
        ("Labels", told + table(header, rounded(rows), "Labels")),
        ("Surest mistakes", _mistakes(kept)),
        ("Calibration", calibration_figure(kept, title, AXIS, formula)),
    ]


def label_figures(kept: Kept) -> dict[str, ChartSpec]:
    """By their names."""
    return {"calibration": calibration_chart(kept["bins"], AXIS)}


def _mistakes(kept: Kept) -> str:
    names = kept["names"]
    shown = []
    for sample in kept["samples"]:
        label, prob = names[sample["label"]], sample["prob"]
        there = sample["label"] in sample["true"]
        if there == (prob > 0.5):
            continue
        true, pred = (", ".join(names[k] for k in sample[key][:20]) for key in ("true", "pred"))
        title = f"{label} {'missed' if there else 'seen'}: {prob:.1%}"
        pictures = [(sample["picture"], "")] if sample["picture"] else []
        about = f"true: {true or 'none'}; predicted: {pred or 'none'}"
        shown.append(Card(pictures, title, about, sample["name"]))
    if not shown:
        return "<p>No label is predicted wrongly.</p>"
    return f"<p>The label of each whose probability is farthest from the truth.</p>{cards(shown)}"
