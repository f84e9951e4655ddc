import pytest
import torch

from lit_opt.engine.base.targets import Regression
from lit_opt.engine.loading.split import split_indices


def test_train_and_val_are_the_whole_and_share_nothing():
    train, val = split_indices(torch.randint(0, 7, (500,)), 0.1, seed=3)
    assert train.dtype == val.dtype == torch.int64
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(500))
    assert torch.equal(val, val.sort().values)
    assert torch.equal(train, train.sort().values)
    _, val = split_indices(Regression().strata(torch.randn(40, 2)), 0.25, seed=0)
    assert len(val) == 10
    assert val.tolist() != list(range(10))


def test_every_class_keeps_its_fraction():
    y = torch.tensor([0] * 600 + [1] * 33 + [2] * 10)[torch.randperm(643)]
    _, val = split_indices(y, 0.1, seed=0)
    assert len(val) == 64
    shares = y[val].bincount() - 0.1 * torch.tensor([600, 33, 10])
    assert shares.abs().max() <= 1
    assert len(split_indices(torch.arange(100).repeat(4), 0.1, seed=0)[1]) == 40  # small classes


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_no_class_leaves_the_training_split(fraction):
    y = torch.tensor([0, 1, 1, 2, 2, 2, 5])
    train, val = split_indices(y, fraction, seed=0)
    assert (len(val) == 0) == (fraction == 0)
    assert set(y[train].tolist()) == {0, 1, 2, 5}


def test_only_the_split_seed_counts():
    y = torch.arange(60) % 3
    torch.manual_seed(1)
    first = split_indices(y, 0.2, seed=0)[1]
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(split_indices(y, 0.2, seed=0)[1], first)
    assert not torch.equal(split_indices(y, 0.2, seed=1)[1], first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # nor is a global number drawn
