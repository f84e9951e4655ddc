"""Reads `metrics.csv`, whoever has saved it last; needs neither torch nor Lightning."""

import csv
from pathlib import Path
from typing import Any

from lit_opt.engine.base.errors import warn


def read_rows(path: Path, keeps: bool = True) -> dict[int, dict[str, Any]]:
    """The rows of a metrics.csv by step, also after a spreadsheet has saved it.

    What is no row of numbers is left out; the file as it was is then kept as metrics-damaged.csv,
    unless `keeps` is False, for those who only look at the run.
    """
    content = path.read_bytes()
    text = content.decode("utf-8-sig", errors="replace").replace("\0", "")
    head, *lines = text.splitlines() or [""]
    comma = next((mark for mark in ";\t" if mark in head), ",")
    if comma != ",":  # of a country with decimal commas
        lines = [line.replace(",", ".") for line in lines]
    rows, damaged = {}, text.encode() != content
    for row in csv.DictReader([head, *filter(None, lines)], delimiter=comma):
        damaged |= any(row.pop(None, []))
        try:
            step = int({key: float(value) for key, value in row.items() if value}["step"])
            rows[step] = {k: v for k, v in row.items() if v} | {"step": step}
        except (KeyError, ValueError, TypeError, OverflowError):
            damaged = True
    if keeps and (damaged or comma != ","):
        kept = path.with_name("metrics-damaged.csv")
        kept.write_bytes(content)
        warn(f"'{path}' is damaged: {len(rows)} rows are taken over; as it was, it is '{kept}'")
    return rows
