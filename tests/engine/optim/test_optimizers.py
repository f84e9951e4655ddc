import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.optim.optimizers import build_optimizer

NAMES = [
    name
    for name, cls in vars(torch.optim).items()
    if inspect.isclass(cls) and issubclass(cls, Optimizer) and cls is not Optimizer
]


def make_net(name: str = "") -> nn.Module:
    """Takes indices 0 … 11, gives logits (12, 3)."""
    torch.manual_seed(0)
    if name == "SparseAdam":
        return nn.Embedding(12, 3, sparse=True)
    return nn.Sequential(nn.Embedding(12, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def train(net: nn.Module, optimizer: Optimizer, steps: int) -> list[float]:
    x = torch.arange(12)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), x % 3)
        loss.backward()
        return loss

    return [optimizer.step(closure).item() for _ in range(steps)]


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_of_torch_lowers_the_loss_and_continues_bit_for_bit(name: str) -> None:
    lr = {"Adadelta": 1.0, "ASGD": 0.1, "SGD": 0.1, "LBFGS": 0.1, "RAdam": 0.03}.get(name, 0.01)
    net, other = make_net(name), make_net(name)
    optimizer, restored = build_optimizer(name, net, lr), build_optimizer(name, other, lr)
    losses = train(net, optimizer, 60)
    assert losses[-1] < 0.9 * losses[0]
    torch.save([net.state_dict(), optimizer.state_dict()], "state.pt")
    saved = torch.load("state.pt", weights_only=True)
    for part, state in zip((other, restored), saved, strict=True):
        part.load_state_dict(state)
    assert train(other, restored, 3) == train(net, optimizer, 3)


@pytest.mark.parametrize(("before", "now"), [(False, True), (True, False)])
def test_a_saved_optimizer_goes_on_with_the_kernel_of_today(before: bool, now: bool) -> None:
    """Such as after another precision; the reference takes no break."""
    nets = [make_net(), make_net()]
    whole, saving = (build_optimizer("AdamW", net, 0.01, may_fuse=before) for net in nets)
    losses = train(nets[0], whole, 6)
    train(nets[1], saving, 3)
    state = saving.state_dict()
    restored = build_optimizer("AdamW", nets[1], 0.01, may_fuse=now)
    restored.load_state_dict(state)
    assert restored.param_groups[0]["fused"] is (True if now else None)
    assert state["param_groups"][0]["fused"] is (True if before else None)
    assert train(nets[1], restored, 3) == pytest.approx(losses[3:], rel=1e-5)


def test_names_are_forgiving_arguments_arrive_and_yaml_lists_become_tuples() -> None:
    for name in ("AdamW", "adamw", "adam_w", "torch.optim.AdamW"):
        assert type(build_optimizer({"name": name}, make_net(), 0.1)) is torch.optim.AdamW
    spec = {"name": "adam", "betas": [0.8, 0.9], "weight_decay": 0.1}
    group = build_optimizer(spec, make_net(), 0.3).param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.3, (0.8, 0.9), 0.1)
    assert spec == {"name": "adam", "betas": [0.8, 0.9], "weight_decay": 0.1}


def test_frozen_parameters_are_left_out() -> None:
    net = make_net()
    net[0].requires_grad_(False)
    assert len(build_optimizer("SGD", net, 0.1).param_groups[0]["params"]) == 4
    with pytest.raises(UserError, match="nothing to train"):
        build_optimizer("SGD", net.requires_grad_(False), 0.1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("Adamm", "no optimizer is called 'Adamm'; set --optimizer to Adam,"),
        ({"momentum": 0.9}, "--optimizer has arguments but no name; set --optimizer to one"),
        ({"name": "SGD", "lr": 0.1}, "leave out --optimizer.lr: --lr sets it"),
        ({"name": "SGD", "momentun": 0.9}, "no 'momentun'; --optimizer.KEY can be momentum"),
        ({"name": "SGD", "params": 1}, "SGD has no 'params'"),
        ({"name": "SGD", "momentum": -1}, "momentum=-1.*Invalid momentum"),
        ({"name": "SGD", "momentum": "big"}, "momentum of SGD is big; expected a number"),
        ({"name": "SGD", "nesterov": True}, "Nesterov momentum requires"),
        ("SparseAdam", r"nn.Embedding\(sparse=True\)"),
        ("their_package.Adam", "there is no module their_package"),
        ("torch.no_such_module.Adam", "can't be imported"),
        ("torch.optim.Adamm", "can't be imported"),
        ("torch.nn.Linear", "is no subclass of Optimizer"),
    ],
)
def test_mistakes_in_the_optimizer_are_named(spec: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_optimizer(spec, make_net(), 0.1)
    assert len(str(caught.value).splitlines()) <= 4
