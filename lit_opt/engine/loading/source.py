"""What the data module asks of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor


class Source:
    """A data set. To bring your own: subclass, override `.load()`.

    in_shape: (C, H, W) or (F,). num_classes: of targets (K) for regression. classes: their names,
    "0", "1", ... by default. State them where you can, then a net can be built before anything is
    read; what is None when it is asked for is taken from the training set.
    regression: whether y are targets, so that the loss is MSE unless it is given.
    """

    in_shape: tuple[int, ...] | None = None
    num_classes: int | None = None
    classes: Sequence[str] | None = None
    regression: bool = False

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        """Returns x, y of `split`: "train", "val" or "test"; None for "val" cuts it from "train".

        x: images uint8 (N, C, H, W) in 0..255, or features float32 (N, F)
        y: labels int64 (N,) in [0, num_classes), or targets float32 (N, K)
        """
        raise NotImplementedError(f"{type(self).__name__} must override load()")

    def download(self, data_dir: Path) -> None:
        """Fetches what `load` reads; called by one process, before `load`."""
