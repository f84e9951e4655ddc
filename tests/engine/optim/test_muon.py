import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_opt.engine.errors import UserError
from lit_opt.engine.optim.muon import MuonAdamW, hidden_weights


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
    )


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[Tensor]:
    losses = []
    for step in steps:
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), x[:, :3].argmax(1))
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def test_hidden_weights_lie_between_the_first_and_the_last_layer() -> None:
    net = make_net()
    assert [p.shape for p in hidden_weights(net)] == [(6, 8)]
    net = nn.Sequential(
        nn.Embedding(9, 4), nn.Embedding(5, 4), nn.Linear(4, 7), nn.Conv1d(7, 7, 3), nn.Linear(7, 2)
    )
    assert [p.shape for p in hidden_weights(net)] == [(7, 4)]


def test_updates_equal_torchs_two_optimizers_side_by_side() -> None:
    ours, theirs = make_net(), make_net()
    hidden = [theirs[3].weight]
    others = [p for p in theirs.parameters() if p is not hidden[0]]
    muon = torch.optim.Muon(hidden, 0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(others, 0.01, weight_decay=0.1)
    optimizer = MuonAdamW(ours, lr=0.01, weight_decay=0.1)
    for step in range(5):
        train(ours, optimizer, range(step, step + 1))
        adamw.zero_grad()
        train(theirs, muon, range(step, step + 1))
        adamw.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_schedule_reaches_both_groups() -> None:
    net = make_net()
    optimizer = MuonAdamW(net, lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)
    train(net, optimizer, range(1))
    scheduler.step()
    before = [p.clone() for p in net.parameters()]
    train(net, optimizer, range(1))
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))


def test_frozen_weights_stay() -> None:
    net = make_net()
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    train(net, MuonAdamW(net, lr=0.01), range(2))
    assert torch.equal(net[0].weight, before)
    net.requires_grad_(False)[3].weight.requires_grad_()  # nothing is left to AdamW
    train(net, MuonAdamW(net, lr=0.01), range(2))


def test_the_closure_runs_once() -> None:
    net, calls = make_net(), []

    def closure() -> Tensor:
        calls.append(1)
        loss = net(torch.ones(2, 4)).square().mean()
        loss.backward()
        return loss

    assert MuonAdamW(net).step(closure) > 0
    assert len(calls) == 1


def test_a_net_without_hidden_weights_is_refused() -> None:
    with pytest.raises(UserError, match="set --optimizer AdamW"):
        MuonAdamW(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
