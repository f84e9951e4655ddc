"""Your own images, named by a table that has their labels."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import Classes, Regression
from lit_opt.engine.loading.class_folders import SPLITS, first_of
from lit_opt.engine.loading.image_folder import ImageFolder
from lit_opt.engine.loading.split import every_fifth
from lit_opt.engine.loading.table import CSV


class ImageTable(ImageFolder):
    """Your own images, named by a table: a line each, with its file, its label, perhaps its split.

    Labels are classes or numbers. Without a column of splits every fifth of each class is a test
    sample.

    Args:
        path: The table, CSV or Parquet, here or in data_dir; its first line names the columns.
        target: Name of the column of labels. Lines that lack one are left out.
        files: Name of the column of image files, which are in data_dir.
        split: Name of the column of train, val and test, if there is one.
        suffix: What is added to the names of files, such as .jpg.
        delimiter: What stands between two values of a line.
        regression: Whether the label is a number. Default: if its values are numbers and not
            whole, or more than 50 different ones.
        image_size: As in ImageFolder, like all that follow.
        channels: 3 for RGB, 1 for grey.
        cache: Decode once, and again only when files change.
        background: Colour behind transparent pixels.
        skip_broken: Leave out images that can't be read, and say which; otherwise an error.
    """

    targets: Classes | None = None  # the table tells

    def __init__(
        self,
        path: str = "labels.csv",
        target: str = "label",
        files: str = "file",
        split: str = "split",
        suffix: str = "",
        delimiter: str = ",",
        regression: bool | None = None,
        image_size: int | None = None,
        channels: int = 3,
        cache: bool = True,
        background: str = "white",
        skip_broken: bool = False,
    ) -> None:
        super().__init__(image_size, channels, cache, background, skip_broken)
        self.table = CSV(path, target, regression=regression, delimiter=delimiter)
        self.path, self.named_in, self.split, self.suffix = path, files, split, suffix

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        self.table.labelled, self.table.classes = self.labelled, self.known_classes
        columns = self.table.columns(data_dir, self.path)
        if self.named_in not in columns:
            raise UserError(
                f"'{self.path}' has no column {self.named_in!r}, only {first_of(list(columns))};\n"
                "set --dataset.files to the one that holds the names of the images"
            )
        names, labels = columns[self.named_in], columns[self.table.target]
        found = self.known_classes
        if self.path not in self.table.made_up:
            found = self.table.class_names({*labels})
        self.classes = self.table.classes = found and list(self.known_classes or found)
        self.targets = Classes() if found else Regression()
        y = self.table.labels(self.path, labels)
        rows = self._rows_of(split, columns.get(self.split), y)
        if not rows and split == "val":
            return None
        paths = [data_dir / f"{names[row]}{self.suffix}" for row in rows]
        x, broken = self._pixels(data_dir, split, paths)
        if broken:
            self._check_broken(broken, paths)
        there = [row for place, row in enumerate(rows) if place not in broken]
        self.sample_names = self.files = [names[row] for row in there]
        return x, y[there]

    def _rows_of(self, split: str, splits: list[str] | None, y: Tensor) -> list[int]:
        if splits is None and self.path in self.table.made_up:
            return list(range(len(y)))
        if splits is None:
            test = every_fifth(y).tolist()
            return [row for row, held in enumerate(test) if split == ("test" if held else "train")]
        usual = {name: key for key, names in SPLITS.items() for name in names}
        for row, name in enumerate(splits):
            if name.lower() not in usual:
                raise UserError(
                    f"'{self.path}': {self.split} is {name!r} in row {row + 1}; expected\n"
                    "train, val or test; --dataset.split names the column that holds them"
                )
        return [row for row, name in enumerate(splits) if usual[name.lower()] == split]
