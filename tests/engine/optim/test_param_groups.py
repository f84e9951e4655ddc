"""Groups made by options train bit for bit as the same groups written by hand in plain torch."""

import warnings

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import Plan
from lit_opt.engine.optim.schedulers import build_schedulers, scale_lr

LR, STEPS = 0.05, 20
FACTORS = {"backbone": 0.1, "backbone.0": 0.5}
RATES = [LR, LR, 0.1 * LR, 0.1 * LR, 0.5 * LR, 0.5 * LR]
NAMES = ["rest", "rest/no_decay", "backbone", "backbone/no_decay", "backbone.0"]
NAMES += ["backbone.0/no_decay"]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        parts = nn.Conv1d(2, 4, 3), nn.LayerNorm([4, 6]), nn.Conv1d(4, 3, 3)
        self.backbone = nn.Sequential(*parts)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2))
        self.embedding = nn.Embedding(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x)) + self.embedding.weight.sum(0)


def by_hand(net: Net) -> list[dict]:
    """Decaying and spared parameters of the rest, the backbone, and the backbone's first layer."""
    conv, norm, second = net.backbone
    one, two, table = net.head[1], net.head[3], net.embedding
    params = [
        [one.weight, two.weight, table.weight], [one.bias, two.bias],
        [second.weight], [norm.weight, norm.bias, second.bias],
        [conv.weight], [conv.bias],
    ]  # fmt: skip
    pairs = enumerate(zip(params, RATES, strict=True))
    return [
        {"params": p, "lr": r} | ({"weight_decay": 0.0} if i % 2 else {}) for i, (p, r) in pairs
    ]


def losses(net: nn.Module, optimizer, schedulers: list, optimizers: list = ()) -> list[float]:
    x = torch.randn(8, 2, 8, generator=torch.Generator().manual_seed(1))
    found = []
    for _ in range(STEPS):
        net.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        for one in (optimizer, *optimizers):
            one.step()
        for scheduler in schedulers:
            plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
            scheduler.step(*[1.0] * plateau)
        found.append(loss.item())
    return found


def warm_cosine(o):
    ramp = lr_scheduler.LinearLR(o, 1 / 5, 1.0, 4)
    return lr_scheduler.SequentialLR(o, [ramp, lr_scheduler.CosineAnnealingLR(o, 16)], [4])


SCHEDULES = [
    (None, 0.0, lambda o: None),
    ("OneCycleLR", 0.0, lambda o: lr_scheduler.OneCycleLR(o, RATES, STEPS)),
    ("CyclicLR", 0.0, lambda o: lr_scheduler.CyclicLR(o, [r / 4 for r in RATES], RATES, 10, 10)),
    (
        {"name": "CyclicLR", "base_lr": LR / 2},
        0.0,
        lambda o: lr_scheduler.CyclicLR(o, [r / 2 for r in RATES], RATES, 10, 10),
    ),
    ("CosineAnnealingLR", 0.2, warm_cosine),
    ({"name": "linear", "end_factor": 0.1}, 0, lambda o: lr_scheduler.LinearLR(o, 1 / 3, 0.1, 20)),
    ("PolynomialLR", 0.0, lambda o: lr_scheduler.PolynomialLR(o, 20)),
    ({"name": "StepLR", "step_size": 5}, 0.0, lambda o: lr_scheduler.StepLR(o, 5)),
    (
        {"name": "ReduceLROnPlateau", "patience": 2},
        0.0,
        lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=2),
    ),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
@pytest.mark.parametrize(("spec", "warmup", "hand"), SCHEDULES)
def test_options_equal_groups_by_hand_under_every_schedule(optimizer, spec, warmup, hand):
    arguments = {"weight_decay": 0.3} | ({"momentum": 0.9} if optimizer == "SGD" else {})
    ours, theirs = Net(), Net()
    built = build_optimizer(
        {"name": optimizer, "no_decay": True, **arguments}, ours, LR, lr_factors=FACTORS
    )
    assert [group["name"] for group in built.param_groups] == NAMES
    plain = getattr(torch.optim, optimizer)(by_hand(theirs), LR, fused=True, **arguments)
    schedulers = [e["scheduler"] for e in build_schedulers(spec, built, Plan(STEPS, STEPS), warmup)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch steps a SequentialLR in its constructor
        expected = losses(theirs, plain, [s for s in [hand(plain)] if s])
    assert losses(ours, built, schedulers) == expected


def test_muon_s_split_goes_through_every_group():
    ours, theirs = Net(), Net()
    spec = {"name": "Muon", "no_decay": True, "weight_decay": 0.3}
    built = build_optimizer(spec, ours, LR, lr_factors={"head": 0.1})
    hidden = {theirs.head[1].weight, theirs.head[3].weight}  # the embedding is the last weight
    options = {"weight_decay": 0.3, "adjust_lr_fn": "match_rms_adamw"}
    muon = torch.optim.Muon(list(hidden), 0.1 * LR, **options)
    rest = [(n, p) for n, p in theirs.named_parameters() if p not in hidden]
    adamw = torch.optim.AdamW(
        [
            {"params": [p], "lr": LR * (0.1 if "head" in n else 1)}
            | ({"weight_decay": 0.0} if "bias" in n or "backbone.1" in n else {})
            for n, p in rest
        ],
        weight_decay=0.3,
    )  # fmt: skip
    assert losses(ours, built, []) == losses(theirs, muon, [], [adamw])
    assert len({group["name"] for group in built.param_groups}) == len(built.param_groups)


def test_a_group_that_a_callback_adds_to_muon_is_trained():
    net = Net()
    net.backbone.requires_grad_(False)
    optimizer = build_optimizer("Muon", net, LR)
    net.backbone.requires_grad_(True)
    optimizer.add_param_group({"params": list(net.backbone.parameters()), "lr": LR})
    before = net.backbone[0].weight.clone()
    losses(net, optimizer, [])
    assert not before.equal(net.backbone[0].weight)


def test_a_changed_lr_keeps_the_ratios():
    optimizer = build_optimizer("SGD", Net(), LR, lr_factors=FACTORS)
    [entry] = build_schedulers("OneCycleLR", optimizer, Plan(STEPS, 1))
    scale_lr(optimizer, [entry["scheduler"]], 0.5)
    assert [g["max_lr"] for g in optimizer.param_groups] == [r / 2 for r in RATES[::2]]


def test_groups_of_one_s_own_keep_their_rates():
    """The three lines of a user's own `configure_optimizers`."""
    net = Net()
    groups = [{"params": net.backbone.parameters(), "lr": 0.001}, {"params": net.head.parameters()}]
    optimizer = build_optimizer({"name": "SGD", "momentum": 0.9}, groups, LR)
    [entry] = build_schedulers("OneCycleLR", optimizer, Plan(STEPS, 1))
    assert [group["max_lr"] for group in optimizer.param_groups] == [0.001, LR]
    assert entry["interval"] == "step"


def test_frozen_parts_may_be_named():
    net = Net()
    net.backbone.requires_grad_(False)
    assert len(build_optimizer("SGD", net, LR, lr_factors=FACTORS).param_groups) == 1


@pytest.mark.parametrize(
    ("spec", "factors", "message"),
    [
        ("SGD", {"bone": 0.1}, "begins with 'bone'; set backbone.0, backbone.1"),
        ("SGD", {"back": 0.1}, "begins with 'back'"),
        ("SGD", {"head": -1.0}, "factor of head is -1.0"),
        ({"name": "LBFGS", "no_decay": True}, None, "LBFGS has no 'no_decay'"),
        ("LBFGS", {"head": 0.1}, "per-parameter options"),
    ],
)
def test_mistakes_in_groups_are_named(spec, factors, message):
    with pytest.raises(UserError, match=message):
        build_optimizer(spec, Net(), LR, lr_factors=factors)
