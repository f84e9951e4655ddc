"""A table in a file, CSV or Parquet, as features and a column to predict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import Classes, Regression
from lit_opt.engine.loading.source import Source
from lit_opt.engine.loading.split import fixed_split
from lit_opt.engine.loading.table_file import number, read_columns

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")
MANY = 50  # different whole numbers in the target column; more are no classes


class CSV(Source):
    """A table of numbers and categories, either with missing values, and a column to predict.

    x: float (N, F). A number has one column, NaN where it is missing, which batches hold as the
    mean of the training part, and if the training file lacks any a second one, 1 where it is
    missing. A category has a column of 0 and 1 for each of its values, missing being one of them;
    a value that the training part doesn't have is 0 in all of them.
    y: classes by their names, int64 (N,); or numbers as they are in the file, float (N, 1).
    Columns go by their names. One without a name, such as an index, is not used.

    Args:
        path: File of the training samples, its first line names the columns. Parquet needs pyarrow.
        target: Name of the column to predict. Rows that lack it are left out.
        test_path: File of the test samples; to predict it needs no target, and all its rows count.
            Default: every fifth row of each class of `path`.
        val_path: File of the validation samples. Default: --val_fraction of the training samples.
        regression: Whether the target is a number. Default: if its values are numbers and not
            whole, or more than 50 different ones.
        categorical: Columns of numbers that are categories, such as a postal code.
        drop: Columns that are not used, such as an identifier.
        max_categories: How many values of a category have a column; the most frequent ones do.
        missing: What stands for a missing value.
        delimiter: What stands between two values of a line.
    """

    nan_is_missing = True

    def __init__(
        self,
        path: str,
        target: str,
        test_path: str | None = None,
        val_path: str | None = None,
        regression: bool | None = None,
        categorical: Sequence[str] = (),
        drop: Sequence[str] = (),
        max_categories: int = 64,
        missing: Sequence[str] = MISSING,
        delimiter: str = ",",
    ) -> None:
        self.paths = {"train": path, "test": test_path, "val": val_path}
        self.target, self.is_number = target, regression
        self.categorical, self.drop = tuple(categorical), tuple(drop)
        self.max_categories, self.delimiter = max_categories, delimiter
        self.missing = frozenset(missing)
        self.read: dict[str, dict[str, list[str]]] = {}  # columns, by path
        self.made_up: set[str] = set()  # paths whose targets don't count

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        path = self.paths[split] or self.paths["train"]
        if path is None or (split == "val" and self.paths["val"] is None):
            return None
        if self.found is None:
            self.found = self._learn(self.columns(data_dir, self.paths["train"] or path))
        self._state(self.found)
        columns = self.columns(data_dir, path)
        x = torch.cat([*self._features(path, columns, self.found["columns"])], 1)
        y = self.labels(path, columns[self.target])
        if self.paths["test"] is not None or split == "val" or path in self.made_up:
            return x, y
        return fixed_split(x, y, split)

    def columns(self, data_dir: Path, path: str) -> dict[str, list[str]]:
        """By their names, "" where a value is missing; only rows that have a target."""
        if path not in self.read:
            columns = read_columns(path, data_dir, self.delimiter, self.missing)
            if not self.labelled and (path == self.paths["test"] or self.target not in columns):
                self.made_up.add(path)
                rows = len(next(iter(columns.values())))
                columns[self.target] = [self.classes[0] if self.classes else "0"] * rows
            if self.target not in columns:
                raise UserError(
                    f"'{path}' has no column {self.target!r}, only {', '.join(list(columns)[:10])};"
                    "\nset --dataset.target, or --dataset.delimiter if these are no columns"
                )
            there = [value != "" for value in columns[self.target]]
            if not all(there):
                self.tell(f"'{path}': {there.count(False)} rows without {self.target} left out")
                columns = {
                    name: [v for v, has in zip(values, there, strict=True) if has]
                    for name, values in columns.items()
                }
            self.read[path] = columns
        return self.read[path]

    # ---- what the training file tells of its columns, and a checkpoint keeps

    def _learn(self, columns: dict[str, list[str]]) -> dict[str, Any]:
        """`columns`: {name: {"categories": their values, or None, "gaps": if any is missing,
        "offset": what is taken off its numbers}}.
        """
        unknown = {*self.categorical, *self.drop} - columns.keys()
        if unknown:
            raise UserError(
                f"--dataset.categorical, --dataset.drop: no column {', '.join(sorted(unknown))};\n"
                f"there are {', '.join(list(columns)[:10])}"
            )
        kinds = {}
        for name, values in columns.items():
            if name in self.drop or name in ("", self.target) or not any(values):
                continue
            counts = Counter(values)
            gaps = counts.pop("", 0) > 0
            numeric = name not in self.categorical and all(number(v) is not None for v in counts)
            often = sorted(counts, key=lambda v: (-counts[v], v))[: self.max_categories]
            if not numeric and len(counts) > len(often):
                self.tell(
                    f"{name} has {len(counts):,} different texts, of which the {len(often)} most "
                    f"frequent ones are used; --dataset.drop [{name}] leaves it out"
                )
            kinds[name] = {
                "categories": None if numeric else sorted(often),
                "gaps": gaps,
                "offset": _offset([*map(number, counts)]) if numeric else 0.0,
            }
        if not kinds:
            raise UserError(f"the table has no column but {self.target!r}; expected some to use")
        return {"columns": kinds, "classes": self.class_names({*columns[self.target]})}

    def class_names(self, values: set[str]) -> list[str] | None:
        """In the order of their numbers, if they are such; None for a regression."""
        numbers = [number(value) for value in values]
        numeric = None not in numbers
        whole = all(n == int(n) for n in numbers if n is not None)
        guess = numeric and (not whole or len(values) > MANY)
        if guess if self.is_number is None else self.is_number:
            return None
        return sorted(values, key=number if numeric else None)  # type: ignore[arg-type]

    def _state(self, found: dict[str, Any]) -> None:
        """What a source states: classes, targets, columns that are not normalised."""
        self.classes = found["classes"]
        self.targets = Regression() if self.classes is None else Classes()
        raw: list[bool] = []
        for kind in found["columns"].values():
            names = kind["categories"]
            raw += [names is not None] * (1 if names is None else len(names))
            raw += [True] * kind["gaps"]
        self.raw_channels = [k for k, is_raw in enumerate(raw) if is_raw]

    # ---- a file as tensors

    def _features(self, path: str, columns: dict[str, list[str]], kinds: dict[str, Any]) -> Any:
        """float (N, 1) or more for each column that the training file has."""
        for name, kind in kinds.items():
            if name not in columns:
                raise UserError(
                    f"'{path}' has no column {name!r}, which the training file has;\n"
                    f"add it, or train without it: --dataset.drop [{name}]"
                )
            values = columns[name]
            if kind["categories"] is None:
                numbers = self._numbers(path, name, values)
                yield (numbers - kind.get("offset", 0.0)).float()
            else:
                place = {category: k for k, category in enumerate(kind["categories"])}
                codes = torch.tensor([place.get(value, -1) for value in values])
                yield (codes[:, None] == torch.arange(len(place))).float()
            if kind["gaps"]:
                yield torch.tensor([value == "" for value in values]).float()[:, None]

    def _numbers(self, path: str, name: str, values: list[str]) -> Tensor:
        """float64 (N, 1), NaN where the value is missing."""
        read = [float("nan") if value == "" else number(value) for value in values]
        if None in read:
            row = read.index(None)
            raise UserError(
                f"'{path}': {name} is {values[row]!r} in row {row + 1}; expected a number, as in "
                f"the training file,\nor a missing value: see --dataset.missing, or "
                f"--dataset.categorical [{name}]"
            )
        return torch.tensor(read, dtype=torch.float64)[:, None]

    def labels(self, path: str, values: list[str]) -> Tensor:
        if self.classes is None:
            return self._numbers(path, self.target, values).float()
        place = {name: k for k, name in enumerate(self.classes)}
        for row, value in enumerate(values):
            if value not in place:
                raise UserError(
                    f"'{path}': {self.target} is {value!r} in row {row + 1}, a class that the\n"
                    f"training file or the checkpoint doesn't have: {', '.join(self.classes[:10])}"
                )
        return torch.tensor([place[value] for value in values])


def _offset(values: Sequence[float | None]) -> float:
    """The median where float32 would make most values of a column alike, such as times; else 0."""
    exact = np.unique(np.array(values, "float64"))
    alike = 2 * len(np.unique(exact.astype("float32"))) < len(exact)
    return float(np.median(exact)) if alike else 0.0
