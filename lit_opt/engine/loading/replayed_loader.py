"""A training loader of the user's own, whose epochs can be replayed and gone on with inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import count, islice
from typing import Any
from zlib import crc32

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading.seeding import all_seeders, own_random_numbers, seed_for


class ReplayedLoader:
    """Gives what `loader` gives, with random numbers that depend on seed, epoch, batch and rank.

    A `DataLoader` over a map-style data set is asked for the batches of an epoch in an order that
    is a function of seed and epoch, whatever its sampler is; what the data set draws for a batch,
    in this process or in a worker, is one of seed, epoch and the batch's indices. So a resumed
    epoch leaves out what was seen, without reading it, and goes on with the same numbers. Any other
    loader goes on inside an epoch only if it, or without workers its data set, has `state_dict`.

    Torch, Python's `random` and numpy are seeded before every step.

    Args:
        loader: A `DataLoader` or any iterable of batches.
        seed: The run's.
        rank: Of this process.
        epoch: Tells the number of the epoch that is trained.
        resumed: The `position` of a checkpoint.
    """

    def __init__(
        self,
        loader: Any,
        seed: int,
        rank: int,
        epoch: Callable[[], int],
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        self.loader, self.place, self.epoch_now, self.resumed = loader, (seed, rank), epoch, resumed
        self.epoch, self.passes, self.batch = -1, 0, 0
        self.replays = isinstance(loader, DataLoader) and _is_map_style(loader)
        self._order = _replay_order(loader, seed) if self.replays else None
        self._source = None if self.replays else _stateful(loader)
        self._ahead = not _has_length(loader)  # then Lightning fetches a batch ahead of the step
        self._state: Any = None  # of the source, before that batch

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not there yet, in a copy that is being made
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """Begins at the first batch, not at `iter()`: Lightning tells the epoch only then."""
        self._begin_pass()
        seeders = all_seeders()
        place = (*self.place, self.epoch, self.passes)
        seed_for(seeders, place)
        batches = iter(self.loader)
        for number in count(self.batch):
            if not self.replays:
                seed_for(seeders, ("fetch", *place, number))
            if self._ahead:
                self.batch = number
                self._state = self._source.state_dict() if self._source else None
            try:
                batch = next(batches)
            except StopIteration:
                return
            seed_for(seeders, (*place, number))
            self.batch += not self._ahead
            yield batch

    def _begin_pass(self) -> None:
        """Of a new epoch, or of the same one where other loaders are longer than this."""
        resumed, self.resumed = self.resumed, None
        epoch = self.epoch_now()
        self.passes = self.passes + 1 if epoch == self.epoch else 0
        self.epoch, self.batch = epoch, 0
        if resumed and self._source and resumed["state"] is not None:
            self._source.load_state_dict(resumed["state"])
        # The batch that Lightning fetches ahead is asked for before it knows the epoch.
        if resumed and (self._ahead or resumed["epoch"] == epoch):
            self._check(resumed)
            self.epoch, self.passes = resumed["epoch"], resumed["passes"]
            self.batch = resumed["batch"] if self.goes_on else 0
        if self._order:
            self._order.begin(self.epoch, self.passes, self.batch)

    def _check(self, resumed: Mapping[str, Any]) -> None:
        if self.replays and resumed["batch"] and resumed["batches"] != len(self):
            raise UserError(
                f"the checkpoint was written inside epoch {resumed['epoch'] + 1}, of "
                f"{resumed['batches']} training batches; now there are {len(self)}.\nContinue with "
                "the same data, batch size and devices; only between epochs can they change"
            )

    @property
    def goes_on(self) -> bool:
        """Whether an epoch can be gone on with inside."""
        return self.replays or self._source is not None

    def state_dict(self) -> dict[str, Any]:
        """Tells Lightning that an epoch can be gone on with; `position` is kept by a callback."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `resumed`: Lightning comes too late where a scheduler has asked for the length."""

    def position(self) -> dict[str, Any]:
        """Where the training is, for a checkpoint; at the end of an epoch that is the next one."""
        epoch = self.epoch_now()
        inside = epoch == self.epoch
        state = self._state if self._ahead else self._source and self._source.state_dict()
        return {
            "epoch": epoch,
            "passes": self.passes if inside else 0,
            "batch": self.batch if inside else 0,
            "batches": len(self) if self.replays else 0,
            "state": state,
        }


def _stateful(loader: Any) -> Any:
    """The loader, or without workers its data set, if it can say and be told where it is."""
    alone = getattr(loader, "num_workers", 0) == 0
    places = [loader, getattr(loader, "dataset", None) if alone else None]
    return next((place for place in places if hasattr(place, "load_state_dict")), None)


def _is_map_style(loader: DataLoader[Any]) -> bool:
    stateful = hasattr(loader, "load_state_dict")  # such as torchdata's
    return _has_length(loader) and not isinstance(loader.dataset, IterableDataset) and not stateful


def _has_length(loader: Any) -> bool:
    try:
        return len(loader) >= 0
    except (TypeError, NotImplementedError):
        return False


def _replay_order(loader: DataLoader[Any], seed: int) -> Order:
    """Puts a replayed order and a seeded data set into a loader that has no workers yet.

    A DataLoader refuses to have them set, as its workers would not notice; so they go past it.
    """
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    order: Any = getattr(loader, name)
    if not isinstance(order, Order):
        order = vars(loader)[name] = Order(order, loader, seed)
        vars(loader)["dataset"] = SeededDataset(loader.dataset, order.now, seed)
    return order


class Order:
    """The batches of an epoch, as lists of indices, in an order that depends on seed and epoch."""

    def __init__(self, sampler: Any, loader: DataLoader[Any], seed: int) -> None:
        self.inner, self.seed, self.skipped = sampler, seed, 0
        self.generators = {id(g): g for g in _generators(sampler, loader)}
        self.now = torch.zeros(2, dtype=torch.int64)  # epoch and pass
        self.now.share_memory_()  # type: ignore[no-untyped-call]  # workers read it

    def __getattr__(self, name: str) -> Any:
        """The sampler's own, such as the `sampler` within it, which Lightning tells the epoch."""
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def begin(self, epoch: int, passes: int, skipped: int) -> None:
        self.now[0], self.now[1], self.skipped = epoch, passes, skipped

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[Any]:
        seed = crc32(repr((self.seed, *self.now.tolist())).encode())
        for generator in self.generators.values():
            generator.manual_seed(seed)
        plain = type(self.inner) is BatchSampler
        if plain and isinstance(self.inner.sampler, SequentialSampler):
            return islice(self.inner, self.skipped, None)  # a range, which needs no memory
        with own_random_numbers(seed):
            batches = list(islice(self.inner, len(self.inner)))  # some samplers never end
        return iter(batches[self.skipped :])


def _generators(sampler: Any, loader: DataLoader[Any]) -> Iterator[torch.Generator]:
    """Those that a sampler, or the one within it, draws from, and the loader's own."""
    for owner in (loader, sampler, getattr(sampler, "sampler", None)):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            yield generator


class SeededDataset(Dataset[Any]):
    """A map-style data set whose random numbers for a batch are those of epoch and indices.

    Everything else that it is asked for is that of the data set within.
    """

    def __init__(self, dataset: Any, now: Tensor, seed: int) -> None:
        self.dataset, self.now, self.seed = dataset, now, seed
        self.seeders: list[Callable[[int], Any]] | None = None
        self.process = 0

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        self._seed(index)
        return self.dataset[index]

    def __getitems__(self, indices: list[Any]) -> Any:
        self._seed(indices)
        many = getattr(self.dataset, "__getitems__", None)
        return many(indices) if many else [self.dataset[index] for index in indices]

    def _seed(self, indices: Any) -> None:
        if self.seeders is None or self.process != os.getpid():  # a worker has its own devices
            self.seeders, self.process = all_seeders(), os.getpid()
        seed_for(self.seeders, (self.seed, *self.now.tolist(), indices))
