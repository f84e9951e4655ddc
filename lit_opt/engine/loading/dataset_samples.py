"""Samples of a map-style data set, which are read when a batch asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading.batches import XY, Batches
from lit_opt.engine.loading.seeding import own_random_numbers
from lit_opt.engine.loading.transforms import transform_samples


class DatasetSamples(Batches):
    """A data set whose samples are (x, y), as `Batches` without its tensors.

    `x` and `first_y` are the first two samples as batches hold them; `y` (N, …) are those of all
    samples where the data set tells them as `targets`, as torchvision's do, else None.

    Args:
        dataset: Has a length and gives a sample for an index.
        transforms: Of evaluation, for the first samples.
    """

    y: Any
    check: Callable[[Tensor], Tensor] | None = None  # of the y of a batch, as it is read

    def __init__(self, dataset: Dataset[Any], transforms: Sequence[nn.Module]) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise UserError(
                f"load() gave {type(dataset).__name__}, which has no length or no indices;\n"
                "a stream goes through a LightningDataModule of your own: --data"
            )
        size = len(dataset)
        if not size:
            raise UserError(f"load() gave {type(dataset).__name__} of no samples; expected one")
        self.dataset, self.rows = dataset, torch.arange(size)
        with own_random_numbers(0):
            two = [index % size for index in range(2)]
            self.x, self.first_y = transform_samples(self.samples(two), transforms)
        self.y = self._targets()

    def _targets(self) -> Tensor | None:
        """Those that the data set tells, if they are what its samples have."""
        try:
            told = torch.as_tensor(getattr(self.dataset, "targets", []))
        except (TypeError, ValueError, RuntimeError):
            return None
        same = told[:2].tolist() == self.first_y[: len(told)].tolist()
        return told if same and len(told) == len(self.rows) else None

    def checked(self, check: Callable[[Tensor], Tensor]) -> DatasetSamples:
        """The same with the y that is told and, later, that of every batch as `check` gives it."""
        same = self.select(self.rows)
        same.check, same.first_y = check, check(self.first_y)
        same.y = None if self.y is None else check(self.y)
        return same

    @property
    def first(self) -> XY:
        return self.x, self.first_y

    @property
    def contents(self) -> tuple[Tensor | None, Tensor | None]:
        return None, self.y

    def samples(self, rows: Any) -> Iterator[Any]:
        many = getattr(self.dataset, "__getitems__", None)
        rows = torch.as_tensor(rows).tolist()
        dataset: Any = self.dataset
        return iter(many(rows)) if many else (dataset[row] for row in rows)

    def checked_y(self, y: Tensor) -> Tensor:
        return self.check(y) if self.check else y

    def y_of_all(self, option: str) -> Tensor:
        if self.y is None:
            raise UserError(
                f"{option} asks for the y of all samples, and {type(self.dataset).__name__} is "
                "read one by one;\ngive it `targets` (N,), as torchvision's data sets have"
            )
        return super().y_of_all(option)
