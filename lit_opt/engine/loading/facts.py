"""What a checkpoint's numbers mean, and by what samples are known again in changed data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading.batches import Batches

KEY = "facts"  # in the data module's state
TOO_LARGE = 2**30  # bytes; larger data is not read as a whole to know its samples again
CHUNK = 2**20  # bytes hashed at once, which a cache holds
GOLDEN = 0x9E3779B97F4A7C15 - 2**64


@dataclass(frozen=True)
class Facts:
    """What every checkpoint holds of the data that its run was trained on."""

    classes: list[str] | None  # in the order of the outputs; None where the source has no names
    num_classes: int
    in_shape: list[int] | None
    mean: list[float] | None  # per channel, of images / 255; None where nothing is normalised
    std: list[float] | None
    counts: dict[str, int]  # samples, by split
    fingerprint: str  # of the cut
    val_ids: Tensor | None  # int64 (samples of validation,); None where they are not known
    found: dict[str, Any] | None = None  # what the source took from the training set

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """mean and std, float64 (C,)"""
        if self.mean is None or self.std is None:
            return None
        mean, std = (torch.tensor(m, dtype=torch.float64) for m in (self.mean, self.std))
        return mean, std


def facts_from(state: Mapping[str, Any]) -> Facts | None:
    """The facts in a data module's state; None in that of an older checkpoint."""
    held: Any = state.get(KEY)
    if not isinstance(held, Mapping):
        return None
    held = {field.name: held.get(field.name) for field in fields(Facts)}
    return Facts(**held)


def facts_in(checkpoint: Mapping[str, Any]) -> Facts | None:
    """The facts of a checkpoint, whatever the class of its data module is called."""
    states = [state for state in checkpoint.values() if isinstance(state, Mapping)]
    return next(filter(None, map(facts_from, states)), None)


# ---- classes go by their names


def renumbered(
    where: str, y: Tensor, names: Sequence[str] | None, known: Sequence[str] | None, whose: str
) -> Tensor:
    """y in the order of the classes `known` instead of `names`.

    y: integers (N, …), or (N, C) with a column for each class. Where one of the two has no names,
    the numbers stay. Raises `UserError` if a sample's class is not known.
    """
    if names is None or known is None or list(names) == list(known):
        return y
    number = {name: k for k, name in enumerate(known)}
    if len(number) < len(known):
        raise UserError(f"{where}: {whose} has two classes of one name, now in another order")
    new = torch.tensor([number.get(name, -1) for name in names])
    inside = torch.ones_like(y, dtype=torch.bool) if y.is_floating_point() else y < len(names)
    inside &= y >= 0  # others, such as DenseClasses' ignore_index, mean no class
    used = y.any(0).nonzero() if y.is_floating_point() else torch.unique(y[inside])
    for k in used.flatten().tolist():
        if new[k] < 0:
            raise UserError(
                f"{where}: the class '{names[k]}' is none of {whose}: {', '.join(known[:10])};\n"
                "give it the name that it had, or train a run of its own with it (--name NEW)"
            )
    if y.is_floating_point():
        ours = new >= 0
        return y.new_zeros(len(y), len(known)).index_copy(1, new[ours], y[:, ours])
    return new.to(y.dtype)[y.where(inside, 0).long()].where(inside, y)


# ---- samples go by what they hold


def row_hashes(x: Tensor) -> Tensor:
    """int64 (N,): a hash of the bytes of each sample; 0.05 s for 60,000 images of 28x28."""
    x = x.unsqueeze(1) if x.ndim == 1 else x
    size = x[0].numel() * x.itemsize
    weights = torch.full((-(-size // 8),), GOLDEN).cumprod(0)  # modulo 2**64
    hashes = []
    for part in torch.split(x, max(1, CHUNK // size)):
        raw = part.reshape(len(part), -1).view(torch.uint8)
        words = F.pad(raw, (0, -size % 8)).view(torch.int64)
        words = words ^ (words >> 32)  # else a word's last byte would reach the top bits only
        hashes.append((words * weights).sum(1))
    return torch.cat(hashes)


def sample_ids(where: str, x: Tensor, names: Sequence[str] | None) -> Tensor | None:
    """int64 (N,), by the samples' names or contents; None if they are unnamed and `TOO_LARGE`."""
    if names is None:
        return row_hashes(x) if x.nbytes <= TOO_LARGE else None
    if len(names) != len(x):
        raise UserError(f"{where}: {len(x)} samples but {len(names)} `sample_names`")
    raw = (name.encode(errors="surrogateescape") for name in names)
    digests = b"".join(blake2b(name, digest_size=8).digest() for name in raw)
    return torch.frombuffer(bytearray(digests), dtype=torch.int64)


@dataclass
class Pool:
    """All samples of an official split, with their ids."""

    data: Batches
    ids: Tensor | None

    @cached_property
    def digest(self) -> bytes:
        """Of ids, or of a thousand samples where there are none, and of y, in their order."""
        found = blake2b(str(len(self.data)).encode(), digest_size=16)
        x, y = self.data.contents
        for values in (x if self.ids is None else self.ids, y):
            if values is None:
                continue
            step = max(1, len(values) // 1000) if values.nbytes > TOO_LARGE else 1
            found.update(row_hashes(values[::step]).numpy().tobytes())
        return found.digest()

    def where(self, chosen: Tensor) -> Batches:
        return self.data.select(chosen.nonzero().flatten())


class Cut:
    """The training set parted into samples to train on and to validate with.

    Args:
        train: The official training set.
        own: The source's own validation set, if it has one.
        parts: What is trained on, and what is validated with, which may be empty.
    """

    def __init__(self, train: Pool, own: Pool | None, parts: tuple[Batches, Batches]) -> None:
        self.pools, (self.train, self.val) = (train, own), parts
        within = own if own and self.val.x is own.data.x else train
        self.val_ids = None if within.ids is None else within.ids[self.val.rows]
        self.counts = {"train": len(self.train), "val": len(self.val)}
        found = blake2b(within.digest + train.digest, digest_size=16)
        for part in parts:
            found.update(part.rows.numpy().tobytes())
        self.fingerprint = found.hexdigest()

    def again(self, val_ids: Tensor | None) -> Cut | None:
        """The cut that validates with the samples `val_ids` and trains on no one of them.

        None if it can't be told which they are, or if fewer than half of them are there.
        """
        train, own = self.pools
        for pool in (own, train):
            if val_ids is None or pool is None or pool.ids is None or train.ids is None:
                continue
            held = torch.isin(pool.ids, val_ids)
            if len(val_ids) and 2 * int(held.sum()) >= len(val_ids):
                rest = train.where(~torch.isin(train.ids, val_ids))
                return Cut(train, own, (rest, pool.where(held)))
        return None
