"""The outcomes of a run's samples as images, for loggers that show no page: matrix and mistakes."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_opt.engine.reports.outcomes import OUTCOMES

CELL, SIDE, ACROSS, MOST = 36, 96, 6, 24  # pixels of a cell and of a sample; samples a row, in all


def pictures_of(folder: Path) -> dict[str, Any]:
    """PIL images by name, such as `val/confusion_matrix` and `val/wrong_samples`.

    Made of outcomes.json; a kind of targets without a matrix or pictures of samples has none.
    """
    try:
        kept = json.loads((folder / OUTCOMES).read_bytes())
    except (OSError, ValueError):
        return {}
    pictures, split = {}, kept["split"]
    if kept.get("matrix"):
        names = [_in_line(kept["names"][k]) for k in kept["shown"]]
        pictures[f"{split}/confusion_matrix"] = matrix_picture(kept["matrix"], names)
    if mistakes := _wrong_samples(kept):
        pictures[f"{split}/wrong_samples"] = sheet_of(mistakes)
    return pictures


def _wrong_samples(kept: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(data URL, caption) of the samples that are most wrong, in that order."""
    samples = [sample for sample in kept.get("samples", []) if sample.get("picture")]
    if kept["kind"] == "classes":
        by_place = {sample["place"]: sample for sample in samples}
        samples = [by_place[place] for place in kept["wrong"] if place in by_place]
    names, shown = kept.get("names"), []
    for sample in samples[:MOST]:
        pred, true = (_in_words(sample[key], names) for key in ("pred", "true"))
        shown.append((sample["picture"], f"{pred} ({true})"))
    return shown


def _in_words(value: Any, names: Sequence[str] | None) -> str:
    if isinstance(value, list):
        return ", ".join(_in_words(inner, names) for inner in value) or "-"
    return _in_line(names[value]) if names and isinstance(value, int) else f"{value:.4g}"


def _in_line(name: Any) -> str:
    """A name may hold line breaks, as a quoted value of a table does, or be long."""
    return " ".join(str(name).split())[:40]


def matrix_picture(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Any:
    """A row a true class, a column a predicted one; the darker, the larger its share of the row."""
    from PIL import Image, ImageDraw

    measure = ImageDraw.Draw(Image.new("L", (1, 1)))
    left = 12 + max(int(measure.textlength(name)) for name in names)
    titles = Image.new("RGB", (left, CELL * len(names)), "white")  # of columns, to be turned
    picture = Image.new("RGB", (left + titles.height, left + titles.height), "white")
    draw = ImageDraw.Draw(picture)
    for i, row in enumerate(matrix):
        ImageDraw.Draw(titles).text((6, CELL * (i + 0.5)), names[i], "black", anchor="lm")
        draw.text((left - 6, left + CELL * (i + 0.5)), names[i], "black", anchor="rm")
        for j, number in enumerate(row):
            x, y = left + CELL * j, left + CELL * i
            share = number / max(1, sum(row))
            red, green, blue = (round(255 - share * (255 - full)) for full in (20, 70, 140))
            draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), (red, green, blue))
            ink = "white" if share > 0.5 else "black"
            told = str(number) if number else ""
            draw.text((x + CELL / 2, y + CELL / 2), told, ink, anchor="mm")
    picture.paste(titles.rotate(90, expand=True), (left, 0))
    return picture


def sheet_of(samples: Sequence[tuple[str, str]]) -> Any:
    """Samples side by side, each above its caption, `predicted (true)`."""
    from PIL import Image, ImageDraw

    wide, high = SIDE + 8, SIDE + 24
    rows = -(-len(samples) // ACROSS)
    sheet = Image.new("RGB", (wide * min(ACROSS, len(samples)), high * rows), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (url, caption) in enumerate(samples):
        x, y = wide * (place % ACROSS) + 4, high * (place // ACROSS) + 4
        image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
        scale = SIDE / max(image.size)
        kind = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BICUBIC
        sides = [max(1, round(side * scale)) for side in image.size]
        sheet.paste(image.resize((sides[0], sides[1]), kind), (x, y))
        draw.text((x, y + SIDE + 3), caption[:16], "black")
    return sheet
