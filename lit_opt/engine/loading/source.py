"""What the data module asks of a data set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import Dataset

from lit_opt.engine.base.targets import Classes


class Source:
    """A data set. To bring your own: subclass, override `.load()`.

    in_shape: shape of one sample, such as (C, H, W) or (F,). num_classes: outputs that the net
    needs: classes, labels or numbers. classes: their names, "0", "1", ... by default. State them
    where you can, then a net can be built before anything is read; what is None when it is asked
    for is taken from the training set.
    sample_names: of what `load` gave last, such as file names, by which samples are known again in
    a changed data set; without them by their contents. files: of what `load` gave last, a column of
    predictions.csv. labelled: false where "test" is read to be predicted: its y doesn't count, and
    may be made up. known_classes: those of a checkpoint; a source that finds its classes by itself
    numbers them so.
    found: plain values that `load` takes from the training set and all splits go by, such as a
    table's categories. Checkpoints keep them; before `load` they are a checkpoint's, or None.
    nan_is_missing: whether x may hold NaN; batches have the mean of the training part instead.
    raw_channels: of axis 1 of x, those that are not normalised, such as columns of 0 and 1; one
    that is constant in the training part is 0 in all batches.
    targets: what y is, from `engine/base/targets.py`: Classes, SoftLabels, MultiLabel, Regression,
    DenseClasses or NextToken. None: integers (N,) are classes; rows that sum to 1, soft labels.
    """

    in_shape: tuple[int, ...] | None = None
    num_classes: int | None = None
    classes: Sequence[str] | None = None
    sample_names: Sequence[str] | None = None
    files: Sequence[str] | None = None
    labelled: bool = True
    known_classes: Sequence[str] | None = None
    found: dict[str, Any] | None = None
    nan_is_missing: bool = False
    raw_channels: Sequence[int] = ()
    targets: Classes | None = None
    regression: bool = False  # the same as `targets = Regression()`, of older sources

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | Dataset[Any] | None:
        """Returns x, y of `split`: "train", "val" or "test"; None for "val" cuts it from "train".

        x: images uint8 (N, C, H, W) in 0..255; float (N, …) such as features (N, F), signals
           (N, C, L) or images, its channels are axis 1; integers (N, …) such as tokens (N, T)
        y: as `targets` says, such as labels int64 (N,) in [0, num_classes)
        Or a `torch.utils.data.Dataset`, whose samples (x, y) are read when a batch asks for them,
        in --num_workers processes; x a picture of PIL, an array or a tensor. Augment by
        --transforms, as the validation is cut from the same data set. As torchvision's it may have
        `classes`, and `targets` (N,): all labels, by which the cut takes as much of each class.
        """
        raise NotImplementedError(f"{type(self).__name__} must override load()")

    def tell(self, text: str) -> None:
        """One line of what was done with the data, such as rows that are left out, on stderr."""
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            print(f"warning: {text}", file=sys.stderr)

    def download(self, data_dir: Path) -> None:
        """Fetches what `load` reads; called by one process, before `load`."""
