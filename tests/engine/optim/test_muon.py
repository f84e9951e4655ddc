import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.optim.optimizers import build_optimizer


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
    )


def train(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    F.cross_entropy(net(x), x[:, :3].argmax(1)).backward()
    optimizer.step()


def weights(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(p.equal(q) for p, q in zip(a, b, strict=True))


def test_hidden_weights_lie_between_the_first_and_the_last_layer() -> None:
    other = nn.Sequential(
        nn.Embedding(9, 4), nn.Embedding(5, 4), nn.Linear(4, 7), nn.Conv1d(7, 7, 3), nn.Linear(7, 2)
    )
    for net, shape in ((make_net(), (6, 8)), (other, (7, 4))):
        muon, adamw = (group["params"] for group in build_optimizer("Muon", net, 0.01).param_groups)
        assert [p.shape for p in muon] == [shape]
        assert len(adamw) == len(list(net.parameters())) - 1
    with pytest.raises(UserError, match="set --optimizer AdamW"):
        build_optimizer("Muon", nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), 0.01)


def test_updates_equal_torchs_two_optimizers_side_by_side() -> None:
    ours, theirs = make_net(), make_net()
    hidden = theirs[3].weight
    others = [p for p in theirs.parameters() if p is not hidden]
    muon = torch.optim.Muon([hidden], 0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(others, 0.01, weight_decay=0.1)
    optimizer = build_optimizer("Muon", ours, 0.01)
    for step in range(5):
        train(ours, optimizer, step)
        adamw.zero_grad()
        train(theirs, muon, step)
        adamw.step()
    assert same(weights(ours), weights(theirs))


def test_a_schedule_reaches_both_groups_of_a_restored_optimizer() -> None:
    net = make_net()
    optimizer = build_optimizer("Muon", net, 0.01)
    optimizer.load_state_dict(optimizer.state_dict())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)
    train(net, optimizer)
    scheduler.step()
    before = weights(net)
    train(net, optimizer)
    assert same(weights(net), before)


def test_frozen_weights_stay() -> None:
    net = make_net()
    before = weights(net)
    net[0].requires_grad_(False)
    train(net, build_optimizer("Muon", net, 0.01))
    assert torch.equal(net[0].weight, before[0])
    net.requires_grad_(False)[3].weight.requires_grad_()  # nothing is left to AdamW
    train(net, build_optimizer("Muon", net, 0.01))


def test_the_closure_runs_once() -> None:
    net, losses = make_net(), []

    def closure() -> Tensor:
        losses.append(net(torch.ones(2, 4)).square().mean())
        losses[-1].backward()
        return losses[-1]

    assert build_optimizer("Muon", net, 0.01).step(closure) is losses[0]
    assert len(losses) == 1
