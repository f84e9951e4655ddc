"""The part of the page on classes: matrix, wrong samples, table of the classes, calibration."""

from collections.abc import Callable, Iterable
from typing import Any

from lit_opt.engine.reports.cards import Card, cards
from lit_opt.engine.reports.charts import ChartSpec, chart
from lit_opt.engine.reports.page import escaped, figure, json_inside, table
from lit_opt.engine.reports.run_record import Kept

ROWS = 100  # of the table of classes


def class_sections(kept: Kept) -> list[tuple[str, str]]:
    """`kept`: of ClassOutcomes."""
    return [
        ("Confusion matrix", _matrix(kept)),
        ("Surest mistakes", _surest(kept)),
        ("Classes", f'<div class="grid">{_class_table(kept)}{_most_confused(kept)}</div>'),
        ("Calibration", _calibration(kept)),
    ]


def class_figures(kept: Kept) -> dict[str, ChartSpec]:
    """By file name, for papers."""
    return {"confusion-matrix": matrix_chart(kept), "calibration": calibration_chart(kept["bins"])}


# ---- the matrix


def _matrix(kept: Kept) -> str:
    """With the samples of its cells, which the script shows."""
    return (
        matrix_of(kept, "Choose a number to see some of its samples.", _button)
        + '<div id="cell" aria-live="polite"></div>'
        f'<script type="application/json" id="samples">{json_inside(_samples(kept))}</script>'
    )


def matrix_of(kept: Kept, note: str, cell: Callable[..., str]) -> str:
    """`cell(count, that of its row, true, pred, names)` is the HTML of a number above 0."""
    names, shown, matrix = kept["names"], kept["shown"], kept["matrix"]
    few = ""
    if len(shown) < len(names):
        few = f" The {len(shown)} of {len(names):,} classes with the most errors are shown."
    kind = "upright" if max(len(names[k]) for k in shown) > 4 else "flat"
    head = "".join(
        f'<th scope="col"><span class="{kind}">{escaped(names[k])}</span></th>' for k in shown
    )
    body = "".join(
        f'<tr><th scope="row">{escaped(names[true])}</th>'
        + "".join(
            f"<td>{cell(count, sum(row), true, pred, names) if count else 0}</td>"
            for pred, count in zip(shown, row, strict=True)
        )
        + "</tr>"
        for true, row in zip(shown, matrix, strict=True)
    )
    return (
        f"<p>Rows are the true classes, columns what was predicted.{few} {note}</p>"
        '<div class="scroll matrix" tabindex="0" role="region" aria-label="confusion matrix">'
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _button(count: int, total: int, true: int, pred: int, names: list[str]) -> str:
    about = f"{count} of {names[true]} predicted as {names[pred]}"
    return (
        f'<button type="button" {tinted(count / total, true == pred)} data-true="{true}" '
        f'data-pred="{pred}" aria-pressed="false" aria-label="{escaped(about)}">{count:,}</button>'
    )


def tinted(share: float, right: bool) -> str:
    """Attributes that colour a cell by its share of the row; text stays readable on it."""
    kind, depth = ("right", 0.3) if right else ("wrong", 0.5)
    return f'class="{kind}" style="--share:{min(0.45, 0.08 + depth * share**0.5):.2f}"'


def _samples(kept: Kept) -> list[dict[str, Any]]:
    """For the script: which cell they are of, and what is shown of them."""
    return [
        {"true": s["true"], "pred": s["pred"], "picture": s["picture"]} | _words(s, kept["names"])
        for s in kept["samples"]
    ]


def _words(sample: Kept, names: list[str]) -> dict[str, str]:
    true, pred = names[sample["true"]], names[sample["pred"]]
    told = f"{true}, predicted {pred}" if true != pred else f"{true}, predicted so"
    return {"title": told, "about": f"{sample['prob']:.1%} sure", "name": sample["name"]}


def _surest(kept: Kept) -> str:
    by_place = {sample["place"]: sample for sample in kept["samples"]}
    wrong = [by_place[place] for place in kept["wrong"] if place in by_place]
    if not wrong:
        return "<p>No sample is predicted wrongly.</p>"
    shown = [
        Card([(s["picture"], "")] if s["picture"] else [], **_words(s, kept["names"]))
        for s in wrong
    ]
    return f"<p>Wrong, and the net was the surest of them.</p>{cards(shown)}"


# ---- tables


def _class_table(kept: Kept) -> str:
    rows = [[name, *row] for name, row in zip(kept["names"], kept["classes"], strict=True)]
    told = "Each class"
    if len(rows) > ROWS:
        told = f"The {ROWS} of {len(rows):,} classes with the lowest F1"
        rows = sorted(rows, key=lambda row: row[3])[:ROWS]
    header = ["class", "precision", "recall", "F1", "samples"]
    return f"<div><h3>{told}</h3>{table(header, rounded(rows), told)}</div>"


def rounded(rows: Iterable[list[Any]]) -> Iterable[list[Any]]:
    """Scores in three decimals between the name and the number."""
    for name, *scores, count in rows:
        yield [name, *(f"{score:.3f}" for score in scores), int(count)]


def _most_confused(kept: Kept) -> str:
    names, classes = kept["names"], kept["classes"]
    rows = [
        [names[true], names[pred], count, f"{count / classes[true][3]:.1%}"]
        for true, pred, count in kept["pairs"]
    ]
    header = ["true", "predicted", "samples", "of the class"]
    shown = table(header, rows, "Most confused") if rows else "<p>None.</p>"
    return f"<div><h3>Most confused</h3>{shown}</div>"


# ---- calibration


def _calibration(kept: Kept) -> str:
    return calibration_figure(
        kept,
        "Accuracy by confidence",
        "accuracy",
        "ECE = Σ n_m / N · |accuracy_m - confidence_m| over 15 equal bins m of the largest "
        "probability (Guo et al. 2017, On Calibration of Modern Neural Networks, eq. 3). On the "
        "dashed line the net is right as often as it is sure.",
    )


def calibration_figure(kept: Kept, title: str, y: str, formula: str) -> str:
    """`y`: what is compared with the confidence."""
    bins = kept["bins"]
    rows = [
        [f"{m / len(bins):.2f} to {(m + 1) / len(bins):.2f}", int(n), f"{conf:.1%}", f"{acc:.1%}"]
        for m, (n, conf, acc) in enumerate(bins)
        if n
    ]
    listed = table(["confidence", "number", "mean confidence", y], rows, "Calibration")
    note = f"Expected calibration error {kept['ece']:.4f}: {formula}"
    return figure(title, calibration_chart(bins, y), listed, note)


def calibration_chart(bins: list[list[float]], y: str = "accuracy") -> ChartSpec:
    """Bars of the accuracy in each bin of confidence, and the diagonal."""
    rows = [
        {"low": m / len(bins), "high": (m + 1) / len(bins), "n": n, "sure": conf, "acc": acc}
        for m, (n, conf, acc) in enumerate(bins)
        if n
    ]
    form = {"type": "quantitative", "format": ".1%"}
    bars = {
        "x": {
            "field": "low",
            "type": "quantitative",
            "title": "confidence",
            "scale": {"domain": [0, 1]},
            "axis": {"format": "~%"},
        },
        "x2": {"field": "high"},
        "y": {
            "field": "acc",
            "type": "quantitative",
            "title": y,
            "scale": {"domain": [0, 1]},
            "axis": {"format": "~%"},
        },
        "y2": {"datum": 0},
        "tooltip": [
            {"field": "n", "title": "number"},
            {"field": "sure", "title": "mean confidence", **form},
            {"field": "acc", "title": y, **form},
        ],
    }
    ends = {"x": {"datum": 0}, "y": {"datum": 0}, "x2": {"datum": 1}, "y2": {"datum": 1}}
    line = {"mark": {"type": "rule", "strokeDash": [4, 4]}, "encoding": ends}
    bar = {"mark": {"type": "bar", "opacity": 0.75}, "encoding": bars}
    return chart(rows, layer=[bar, line])


def matrix_chart(kept: Kept) -> ChartSpec:
    """The confusion matrix as a figure for papers; the page has it as a table of buttons."""
    names = [kept["names"][k] for k in kept["shown"]]
    rows = [
        {"true": true, "pred": pred, "n": n, "share": n / max(1, sum(row))}
        for true, row in zip(names, kept["matrix"], strict=True)
        for pred, n in zip(names, row, strict=True)
    ]
    axes = {
        "x": {"field": "pred", "type": "nominal", "title": "predicted", "sort": names},
        "y": {"field": "true", "type": "nominal", "title": "true", "sort": names},
    }
    tint = {"field": "share", "type": "quantitative", "legend": None}
    above = {"condition": {"test": "datum.share > 0.5", "value": "white"}, "value": "black"}
    text = axes | {"text": {"field": "n"}, "color": above}
    layers = [
        {"mark": "rect", "encoding": axes | {"color": tint}},
        {"mark": "text", "encoding": text},
    ]
    return chart(rows, height=max(200, 30 * len(names)), layer=layers)
