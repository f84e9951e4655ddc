"""Torch's optimizers and schedulers: a wrong value is told when they are built.

The reference is torch: what is built must train and move the learning rate without an error.
"""

import inspect
import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import Plan
from lit_opt.engine.optim.schedulers import NOT_FROM_HYPERPARAMETERS, build_schedulers, is_over

VALUES = [0, -1, 2, 0.5, "many", None, [], [-1], [3, 1], float("nan"), True, {"a": 1}]
VALUES += [2.0, [2.0], 1e30, float("inf")]
NEEDED = {"StepLR": {"step_size": 1}, "MultiStepLR": {"milestones": [1]}}
NEEDED["ExponentialLR"] = {"gamma": 0.5}
OTHERS = {*NOT_FROM_HYPERPARAMETERS, LRScheduler, Optimizer, torch.optim.SparseAdam}
# Whether a kernel runs on a device is known only where the parameters are.
NOT_HERE = {"lr", "max_lr", "last_epoch", "capturable", "scale_fn"}


QUICK = ("StepLR", "CosineAnnealingLR", "SGD")


def classes(home: Any, base: type) -> list[Any]:
    found = {c for c in vars(home).values() if isinstance(c, type) and issubclass(c, base)}
    return [
        pytest.param(c, marks=() if c.__name__ in QUICK else pytest.mark.slow)
        for c in sorted(found - OTHERS, key=lambda c: c.__name__)
    ]


def train(optimizer: Any, scheduler: Any) -> list[float]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    built = build_optimizer(optimizer, net, 0.1)
    entries = build_schedulers(scheduler, built, Plan(6, 6))

    def closure() -> torch.Tensor:
        built.zero_grad()
        loss = net(torch.ones(2, 3)).square().mean()
        loss.backward()
        return loss

    for scheduler in [entry["scheduler"] for entry in entries] * 5:
        built.step(closure)
        if not is_over(scheduler):
            scheduler.step(*[1.0] * isinstance(scheduler, ReduceLROnPlateau))
    built.step(closure)
    return [group["lr"] for group in built.param_groups]


def arguments(cls: type) -> list[str]:
    return [name for name in list(inspect.signature(cls).parameters)[1:] if name not in NOT_HERE]


@pytest.mark.parametrize("cls", classes(lr_scheduler, LRScheduler), ids=lambda c: c.__name__)
def test_of_a_scheduler(cls):
    check("scheduler", cls, lambda spec: train("SGD", spec))


@pytest.mark.parametrize("cls", classes(torch.optim, Optimizer), ids=lambda c: c.__name__)
def test_of_an_optimizer(cls):
    check("optimizer", cls, lambda spec: train(spec, None))


def check(flag: str, cls: type, train: Any) -> None:
    refused = 0
    for key, value in itertools.product(arguments(cls), VALUES):
        spec = {"name": cls.__name__, **NEEDED.get(cls.__name__, {}), key: value}
        told = outcome(train, spec)
        refused += isinstance(told, str)
        assert f"--{flag}" in told and key in told if isinstance(told, str) else min(told) >= 0, (
            spec
        )
    assert refused >= 4 * len(arguments(cls))


def outcome(train: Any, spec: dict[str, Any]) -> str | list[float]:
    try:
        return train(spec)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("value", [1, 3.0, 1000])
def test_a_step_size_that_can_be_had(value):
    built = build_optimizer("SGD", nn.Linear(1, 1), 1.0)
    ours = build_schedulers({"name": "StepLR", "step_size": value}, built, Plan(6, 6))
    plain = torch.optim.SGD([nn.Parameter(torch.ones(1))], 1.0)
    theirs = lr_scheduler.StepLR(plain, int(value))
    for _ in range(5):
        built.step()
        plain.step()
        ours[0]["scheduler"].step()
        theirs.step()
        assert built.param_groups[0]["lr"] == plain.param_groups[0]["lr"]


def slow(*row: Any) -> Any:
    return pytest.param(*row, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--scheduler=StepLR", "--scheduler.step_size=0"],
            "step_size of StepLR is 0; expected at",
        ),
        slow(["--scheduler=MultiStepLR", "--scheduler.milestones=[1,x]"], "of whole numbers"),
        slow(["--optimizer.betas=[2,1]"], "Invalid beta"),
        slow(["--optimizer.capturable=true"], "--optimizer.capturable true needs a GPU"),
        (
            ["--optimizer.fused=true", "--gradient_clip_val=1", "--precision=bf16-mixed"],
            "--optimizer.fused true can't go with --gradient_clip_val in mixed precision",
        ),
    ],
)
def test_it_is_told_before_anything_is_written(fails, tmp_path, words, told):
    assert told in fails(*words)
    assert not any(tmp_path.iterdir())
