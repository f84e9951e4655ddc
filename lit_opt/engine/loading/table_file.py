"""A table's file to columns of text."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lit_opt.engine.base.errors import UserError


def read_columns(
    path: str, data_dir: Path, delimiter: str, missing: Collection[str]
) -> dict[str, list[str]]:
    """The values of each column, by its name; "" for those of `missing`, without blanks around.

    Args:
        path: The file, from the working folder or from `data_dir`; .parquet or CSV.
        data_dir: Where it may lie.
        delimiter: What stands between two values in a CSV file.
        missing: What stands for a missing value.

    Raises:
        UserError: if the file can't be read, or isn't a table.
    """
    found = [p for p in (Path(path).expanduser(), data_dir / path) if p.is_file()]
    if not found:
        raise UserError(f"there is no file '{path}', nor in '{data_dir}'; set --dataset.path")
    if found[0].suffix == ".parquet":
        names, columns = _parquet(found[0])
    else:
        rows = _rows(found[0], delimiter)
        names = next(rows, [])
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise UserError(f"'{path}' has two columns named {twice[0]!r}; rename one")
    if not names or not columns[0]:
        raise UserError(f"'{path}' has no rows; expected a line of names and one a sample")
    return {
        name: ["" if value in missing else value for value in values]
        for name, values in zip(names, columns, strict=True)
    }


def _rows(path: Path, delimiter: str) -> Iterator[list[str]]:
    """All of one length, values without the blanks around them; empty lines are passed over."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            length = 0
            for row in filter(None, reader):
                length = length or len(row)
                if len(row) != length:
                    raise UserError(
                        f"'{path}', line {reader.line_num}: {len(row)} values; expected {length}, "
                        "as in the first line;\nquote values that hold a delimiter or a line "
                        f"break, or set --dataset.delimiter, which is {delimiter!r}"
                    )
                yield [value.strip() for value in row]
    except UnicodeDecodeError:
        raise UserError(f"'{path}' is not text in UTF-8; save it as such") from None
    except (csv.Error, OSError, TypeError) as error:
        raise UserError(f"'{path}' can't be read as CSV: {error}") from None


def _parquet(path: Path) -> tuple[list[str], list[Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(f"'{path}' takes pyarrow: pip install pyarrow") from None
    try:
        table = parquet.read_table(path).to_pydict()
    except (ArrowException, OSError) as error:
        raise UserError(f"'{path}' can't be read as Parquet: {error}") from None
    texts = (["" if v is None else str(v).strip() for v in values] for values in table.values())
    return list(table), list(texts)


def number(text: str) -> float | None:
    """The finite number that a text is, else None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None
