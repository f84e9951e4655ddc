import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading.batches import Batches
from lit_opt.engine.loading.loader import EpochSampler, LazyLoader, whole_batch


def batches(n: int) -> Batches:
    return Batches(torch.arange(n)[:, None, None, None].to(torch.uint8), torch.arange(n))


def lazy(n, batch_size, shuffle=False, world=1, **options):
    data = batches(n)
    sampler = EpochSampler(data, world, 0, shuffle)
    return LazyLoader(
        data, batch_size=batch_size, sampler=sampler, collate_fn=whole_batch, **options
    )


def labels(loader):
    return torch.cat([y for _, y in loader]).tolist()


def order(n, world=1, rank=0, shuffle=True, seed=0, epoch=0):
    sampler = EpochSampler(batches(n), world, rank, shuffle, seed)
    sampler.set_epoch(epoch)
    assert len(list(sampler)) == len(sampler)
    return list(sampler)


def test_batches_equal_a_plain_dataloader():
    data, ours = batches(10), lazy(10, 4)
    plain = DataLoader(TensorDataset(data.x, data.y), batch_size=4)
    assert len(ours) == len(plain) == 3  # the last is incomplete
    for (x, y), (px, py) in zip(ours, plain, strict=True):
        assert torch.equal(x, px)
        assert torch.equal(y, py)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_ends_no_worker(number):
    loader = lazy(6, 2, num_workers=1, worker_init_fn=lambda _: os.kill(os.getpid(), number))
    assert labels(loader) == list(range(6))
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("first", [0, 4, 5])  # 5 is inside a group, which --max_steps has cut
def test_groups_are_the_batches_in_order(first):
    loader = lazy(22, 2, shuffle=True)
    loader.group = 4
    assert (len(loader), loader.steps) == (3, 11)
    loader.load_state_dict({**loader.state_dict(), "batch": first})
    numbered = [list(group.numbered()) for group in loader]
    assert [len(group) for group in numbered] == {0: [4, 4, 3], 4: [4, 3], 5: [6]}[first]
    assert [number for group in numbered for number, _ in group] == list(range(first, 11))
    seen = labels(batch for group in numbered for _, batch in group)
    assert seen == order(22)[2 * first :]


@pytest.mark.parametrize(
    ("shuffle", "sizes"),
    [
        *[(True, [7]), (True, [3, 3]), (True, [2, 2, 2])],  # training: as many on every rank
        *[(False, [7]), (False, [4, 3]), (False, [3, 2, 2])],  # evaluation: every sample
    ],
)
def test_every_sample_goes_to_one_rank(shuffle, sizes):
    shares = [order(7, len(sizes), rank, shuffle) for rank in range(len(sizes))]
    assert [len(share) for share in shares] == sizes
    assert len({i for share in shares for i in share}) == sum(sizes)


def test_order_is_a_function_of_seed_and_epoch():
    cases = [(seed, epoch) for seed in (0, 4, 5, 6, 2**32 - 1) for epoch in (1, 2, 3)]
    first = [order(50, seed=seed, epoch=epoch) for seed, epoch in cases]
    torch.manual_seed(2)
    assert [order(50, seed=seed, epoch=epoch) for seed, epoch in cases] == first
    assert len({tuple(o) for o in first}) == len(cases)
    assert sorted(first[0]) == list(range(50))


@pytest.mark.parametrize("workers", [0, 2])
def test_set_epoch_after_iter_still_counts(workers):
    loader = lazy(20, 3, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    for epoch in (4, 5):
        iterator = iter(loader)
        loader.sampler.set_epoch(epoch)
        assert labels(iterator) == order(20, epoch=epoch)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("world_size", "steps"), [(1, 3), (2, 1)])
def test_a_tail_that_is_left_out_is_in_no_count(workers, world_size, steps):
    """Of 14 samples in batches of 4, the whole order's first ones are the reference."""
    loader = lazy(14, 4, shuffle=True, num_workers=workers, world=world_size)
    loader.sampler.drop_tail(4)
    assert (len(loader), loader.steps) == (steps, steps)
    assert labels(loader) == order(14, world_size)[: 4 * steps]
    loader.group = 2
    assert len(loader) == -(-steps // 2)


def test_a_tail_is_not_left_out_where_there_is_nothing_else():
    with pytest.raises(UserError, match="of 3 samples, 4 each"):
        lazy(3, 4, shuffle=True).sampler.drop_tail(4)
