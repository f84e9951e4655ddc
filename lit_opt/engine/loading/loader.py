"""From tensors in memory to batches: one indexing each, in an order that can be replayed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading.batches import XY, Batches
from lit_opt.engine.loading.seeding import device_seeders, seed_for
from lit_opt.engine.loading.workers import signals_held_back

# What the position inside an epoch depends on, in the words of the command line.
SIZES = {
    "batch_size": "--batch_size",
    "world_size": "--devices x --num_nodes",
    "samples": "a training set of",
    "group": "--steps_per_execution",
}
GROUP = "group"  # must not change at all: Lightning's own counts are in groups


class EpochSampler(DistributedSampler[int]):
    """Order = f(seed, epoch), the epoch being told by `set_epoch`; not shuffled: 0, 1, 2, ...

    Shuffled (training), every rank gets the same number of samples: the tail is dropped. With
    `weights` they are drawn with replacement, each as often as its weight says.
    Not shuffled (evaluation), every sample goes to exactly one rank: 7 on 2 ranks are 4 + 3.
    """

    def __init__(
        self, dataset: Batches, num_replicas: int, rank: int, shuffle: bool, seed: int = 0
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle, seed, drop_last=shuffle)
        self.size = len(dataset)
        # DistributedSampler would pad the evaluation to the same number on every rank.
        mine = len(range(rank, self.size, num_replicas))
        self.num_samples = self.size // num_replicas if shuffle else mine
        self.weights: Tensor | None = None  # of the samples, to draw them with replacement
        self.skipped = 0  # samples of this rank that an interrupted epoch has seen

    def drop_tail(self, batch_size: int) -> None:
        """Leaves out the batch that is not full; raises `UserError` if there is no other."""
        self.num_samples -= self.num_samples % batch_size
        if not self.num_samples:
            raise UserError(
                f"--drop_last leaves no batch: of {self.size} samples, {batch_size} each"
            )

    def order(self) -> Tensor:
        """This rank's indices in this epoch, int64."""
        order = torch.arange(self.size)
        if self.shuffle:
            # Not seed + epoch: neighbouring seeds would share orders. A generator uses 32 bits.
            mixed = (1_000_003 * self.seed + self.epoch) % 2**32
            generator = torch.Generator().manual_seed(mixed)
            if self.weights is None:
                order = torch.randperm(self.size, generator=generator)
            else:
                ends = self.weights.cumsum(0)  # float64 (N,)
                drawn = torch.rand(self.size, dtype=torch.float64, generator=generator)
                order = torch.searchsorted(ends, drawn * ends[-1], right=True)
                order.clamp_(max=self.size - 1)
        return order[self.rank :: self.num_replicas][self.skipped : self.num_samples]

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())


class Group:
    """The next batches of an epoch, which one call of `training_step` trains on one by one.

    It is no collection, so that Lightning hands it on as it is. Each batch is fetched, and torch
    seeded for its step, when `numbered` comes to it.
    """

    def __init__(self, loader: LazyLoader, batches: Iterator[XY]) -> None:
        self.loader, self.batches = loader, batches

    def numbered(self) -> Iterator[tuple[int, XY]]:
        """(number of the batch in the epoch, from 0 on; the batch as the loader gives it)"""
        for batch in self.batches:
            yield self.loader.batch - 1, batch


class LazyLoader(DataLoader[XY]):
    """Starts at the first batch, not at `iter()`, and goes on inside an epoch after a resume.

    Lightning calls `iter()` before `set_epoch`; workers would have fetched the batches of the wrong
    epoch by then (Lightning issue 21938). Lightning saves and restores `state_dict`.

    Shuffled (training), it seeds torch for every step: augmentation and dropout are the same after
    a resume, however often a run is validated, and different on every rank.
    """

    sampler: EpochSampler
    group = 1  # batches in a `Group`; with 1 the loader gives the batches themselves
    batch = 0  # of the epoch, handed over so far
    _resumed: dict[str, int] | None = None

    def __len__(self) -> int:
        return ceil(self.steps / self.group)

    @property
    def steps(self) -> int:
        """Batches, and so optimizer steps, in an epoch."""
        return super().__len__()

    def __iter__(self) -> Iterator[XY | Group]:  # type: ignore[override]
        if not isinstance(self.sampler, EpochSampler):  # Lightning's, for a prediction
            yield from super().__iter__()
            return
        self._seeders = device_seeders() if self.sampler.shuffle else []
        epoch = getattr(self.dataset, "epoch", None)
        if isinstance(epoch, Tensor):  # what its random numbers depend on; none in an evaluation
            epoch.fill_(self.sampler.epoch if self.sampler.shuffle else 0)
        self.batch = self._first_batch()
        self.sampler.skipped = self.batch * (self.batch_size or 0)
        batches = map(self._begin_step, self._fetched())
        if self.group == 1:
            yield from batches
            return
        # Lightning has counted a group that --max_steps has cut: its rest goes to the next one.
        for end in range(ceil(self.batch / self.group) + 1, len(self) + 1):
            yield Group(self, islice(batches, end * self.group - self.batch))

    def _begin_step(self, batch: XY) -> XY:
        """Counts the batch and, in training, seeds torch for its step."""
        if self._seeders:
            place = (self.sampler.seed, self.sampler.epoch, self.batch, self.sampler.rank)
            seed_for(self._seeders, place)
        self.batch += 1
        return batch

    def _fetched(self) -> Iterator[XY]:
        if self.num_workers or self.pin_memory or self.batch_size is None:
            with signals_held_back():
                iterator = super().__iter__()
            try:
                yield from iterator
            except UserError as error:  # of a worker, whose traceback is part of the message
                raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None
        else:  # what DataLoader does around its fetching costs more than the fetching
            data: Any = self.dataset
            order = self.sampler.order().to(data.rows.device)
            yield from map(data.__getitems__, torch.split(order, self.batch_size))

    def _first_batch(self) -> int:
        state, self._resumed = self._resumed, None
        if state is None:
            return 0
        now, inside = self.state_dict(), state["epoch"] == self.sampler.epoch
        for key, flag in SIZES.items():
            if state[key] != now[key] and (inside or key == GROUP):
                where = f"inside epoch {state['epoch'] + 1}, " if inside else ""
                raise UserError(
                    f"the checkpoint was written {where}with {flag} {state[key]}; now it is "
                    f"{now[key]}.\nContinue with {state[key]}"
                    + ("; only between epochs can it change" if key != GROUP else "")
                )
        return state["batch"] if inside else 0

    def state_dict(self) -> dict[str, int]:
        if not isinstance(self.sampler, EpochSampler):  # Lightning's, for --overfit_batches
            return {}
        return {
            "epoch": self.sampler.epoch,
            "batch": self.batch,
            "batch_size": self.batch_size or 0,
            "world_size": self.sampler.num_replicas,
            "samples": self.sampler.size,
            "group": self.group,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._resumed = state


def whole_batch(batch: Any) -> Any:
    """The collate function: `Batches` hands over whole batches already."""
    return batch
