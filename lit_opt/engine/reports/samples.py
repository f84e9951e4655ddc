"""The samples that a report shows: their names and, of images, pictures as data URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, SequentialSampler

from lit_opt.engine.base.interface import data_of

SIDE = 96  # pixels; larger pictures are made smaller
LOSSLESS = 40  # pixels; up to this side a picture is shown as it is


class Samples:
    """What the loader of an evaluation reads, by the places of the samples in it.

    Args:
        loader: Of the validation or test.
        data: The LightningDataModule, which may know the samples' names.
        split: "val" or "test".
        net: The module, if it may be called by one process alone; on `device`.
    """

    def __init__(
        self, loader: Any, data: Any, split: str, net: Any = None, device: Any = "cpu"
    ) -> None:
        self.net, self.device = net, device
        self.dataset: Any = getattr(loader, "dataset", None)
        self.split, self.data = split, data
        sampler = getattr(loader, "sampler", None)
        in_order = isinstance(sampler, SequentialSampler) or not getattr(sampler, "shuffle", True)
        self.in_order = in_order and not isinstance(self.dataset, IterableDataset)

    def name(self, place: int) -> str:
        """What the data calls it, such as its file; else its place."""
        return str(data_of(self.data).sample_name(self.split, place))

    def x(self, place: int) -> Any:
        """The sample as the data set has it, before it is normalised; None if it can't be asked."""
        if not self.in_order:
            return None
        with suppress(Exception):  # a data set of the user's
            if hasattr(self.dataset, "__getitems__"):
                x, _ = self.dataset.__getitems__([place])
                return x[0]
            return self.dataset[place][0]
        return None

    def picture(self, place: int) -> str | None:
        """A data URL, if x is an image (C, H, W) of one, three or four channels."""
        x = self.x(place)
        if not (isinstance(x, Tensor) and x.ndim == 3 and x.shape[0] in (1, 3, 4)):
            return None
        return data_url(as_bytes(x[:3]))


def as_bytes(x: Tensor) -> Tensor:
    """uint8 of the same shape; numbers that are no bytes are stretched from black to white."""
    if x.dtype == torch.uint8:
        return x.cpu()
    x = x.detach().float().cpu().nan_to_num()
    low, high = x.min(), x.max()
    if low >= 0 and 0.5 < high <= 1:
        low, high = low.new_tensor(0), high.new_tensor(1)
    return ((x - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)


def data_url(image: Tensor, side: int = SIDE) -> str:
    """uint8 (1, H, W) or (3, H, W) as a PNG, or as a JPEG of at most `side` pixels a side."""
    from PIL import Image

    pixels = image.movedim(0, -1).squeeze(-1).contiguous().numpy()
    picture = Image.fromarray(pixels)
    kind = "png" if max(picture.size) <= LOSSLESS else "jpeg"
    picture.thumbnail((side, side), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, kind, quality=85, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def in_order_of_samples(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all processes: sample i is the process' whose rank is i modulo their number."""
    if len(parts) == 1:
        return parts[0]
    rows = parts[0].new_empty((sum(len(part) for part in parts), *parts[0].shape[1:]))
    for rank, part in enumerate(parts):
        rows[rank :: len(parts)] = part
    return rows


class Worst:
    """The samples with the largest scores so far, with what belongs to them, on their device."""

    def __init__(self, most: int) -> None:
        self.most, self.seen = most, 0
        self.kept: list[Tensor] = []

    def add(self, scores: Tensor, *values: Tensor) -> None:
        """`scores`: (B,); `values`: (B, …) each. They are counted in their order."""
        places = torch.arange(self.seen, self.seen + len(scores), device=scores.device)
        self.seen += len(scores)
        new = [scores.float(), places, *values]
        if self.kept:
            new = [torch.cat(pair) for pair in zip(self.kept, new, strict=True)]
        best = new[0].argsort(descending=True, stable=True)[: self.most]
        self.kept = [value[best] for value in new]

    def state(self) -> Worst:
        """Itself, on the CPU."""
        self.kept = [value.cpu() for value in self.kept]
        return self

    @staticmethod
    def merged(parts: Sequence[Worst], most: int) -> list[tuple[int, list[Tensor]]]:
        """Places among the samples of all processes, and the values there; the worst first."""
        rows = []
        for rank, part in enumerate(parts):
            for score, place, *values in zip(*part.kept, strict=True):
                rows.append((float(score), int(place) * len(parts) + rank, list(values)))
        rows.sort(key=lambda row: (-row[0], row[1]))
        return [(place, values) for _, place, values in rows[:most]]
