"""What the data module asks of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lit_opt.engine.targets import Classes


class Source:
    """A data set. To bring your own: subclass, override `.load()`.

    in_shape: shape of one sample, such as (C, H, W) or (F,). num_classes: outputs that the net
    needs: classes, labels or numbers. classes: their names, "0", "1", ... by default. State them
    where you can, then a net can be built before anything is read; what is None when it is asked
    for is taken from the training set.
    Samples that are read one by one, in workers, go through a LightningDataModule of your own, which
    has the same order, seeds and resumption.
    sample_names: of what `load` gave last, such as file names, by which samples are known again in
    a changed data set; without them by their contents. known_classes: those of a checkpoint; a
    source that finds its classes by itself numbers them so.
    targets: what y is, from `lit_opt.engine.targets`: Classes, SoftLabels, MultiLabel, Regression,
    DenseClasses or NextToken. None: integers (N,) are classes; rows that sum to 1, soft labels.
    """

    in_shape: tuple[int, ...] | None = None
    num_classes: int | None = None
    classes: Sequence[str] | None = None
    sample_names: Sequence[str] | None = None
    known_classes: Sequence[str] | None = None
    targets: Classes | None = None
    regression: bool = False  # the same as `targets = Regression()`, of older sources

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        """Returns x, y of `split`: "train", "val" or "test"; None for "val" cuts it from "train".

        x: images uint8 (N, C, H, W) in 0..255; float (N, …) such as features (N, F), signals
           (N, C, L) or images, its channels are axis 1; integers (N, …) such as tokens (N, T)
        y: as `targets` says, such as labels int64 (N,) in [0, num_classes)
        """
        raise NotImplementedError(f"{type(self).__name__} must override load()")

    def download(self, data_dir: Path) -> None:
        """Fetches what `load` reads; called by one process, before `load`."""
