"""Random numbers that depend on a place in the training, and on nothing before it."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import numpy as np
import torch


def device_seeders() -> list[Callable[[int], Any]]:
    """What seeds the devices in use; `torch.manual_seed` takes a hundred times as long."""
    seeders: list[Callable[[int], Any]] = [torch.default_generator.manual_seed]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        seeders.append(torch.cuda.manual_seed)
    if torch.backends.mps.is_available():
        seeders.append(torch.mps.manual_seed)
    return seeders


def all_seeders() -> list[Callable[[int], Any]]:
    """What seeds torch on the devices in use, Python and numpy."""
    return [*device_seeders(), random.seed, np.random.seed]


def seed_for(seeders: list[Callable[[int], Any]], place: tuple[Any, ...]) -> None:
    """Seeds with a number that depends on all of `place`, such as (seed, epoch, batch, rank)."""
    seed = crc32(repr(place).encode())
    for seeder in seeders:
        seeder(seed)


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Within, the global random numbers begin at `seed`; after it they are as before."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        seed_for([torch.default_generator.manual_seed, random.seed, np.random.seed], (seed,))
        yield
    random.setstate(python)
    np.random.set_state(numpy)
