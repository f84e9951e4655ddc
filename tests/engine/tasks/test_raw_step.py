"""The optimizer's step without torch's profiling: the same step, and all of it where it counts."""

from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR
from torch.optim.optimizer import register_optimizer_step_post_hook

from lit_opt.engine.tasks.raw_step import take_step

OPTIMIZERS = [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    lambda p: torch.optim.AdamW(p, lr=0.1),
    lambda p: torch.optim.Adagrad(p, lr=0.1),
]


def trained(
    make: Callable[..., torch.optim.Optimizer], step: Callable[[torch.optim.Optimizer], object]
) -> list[float]:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = make(net.parameters())
    scheduler = ExponentialLR(optimizer, 0.5)
    for _ in range(5):
        optimizer.zero_grad()
        net(torch.randn(4, 3)).square().sum().backward()
        step(optimizer)
        scheduler.step()
    return torch.cat([p.flatten() for p in net.parameters()]).tolist()


@pytest.fixture
def unrecorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(name: str) -> None:
        raise AssertionError(f"{name} was recorded")

    monkeypatch.setattr(torch.autograd.profiler, "record_function", record)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_the_weights_are_the_same_bit_for_bit(
    make: Callable[..., torch.optim.Optimizer],
) -> None:
    assert trained(make, take_step) == trained(make, lambda optimizer: optimizer.step())


def some_optimizer() -> torch.optim.Optimizer:
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    return torch.optim.SGD([weight], lr=0.1)


@pytest.mark.usefixtures("unrecorded")
def test_nothing_is_recorded_for_a_profiler_that_is_off() -> None:
    take_step(some_optimizer())


@pytest.mark.usefixtures("unrecorded")
def test_a_schedulers_first_step_is_the_whole_one_then_no_more() -> None:
    optimizer = some_optimizer()
    ExponentialLR(optimizer, 0.5)
    with pytest.raises(AssertionError, match="was recorded"):
        take_step(optimizer)
    take_step(optimizer)


def test_hooks_are_called() -> None:
    optimizer, calls = some_optimizer(), []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    everywhere = register_optimizer_step_post_hook(lambda *_: calls.append("everywhere"))
    take_step(optimizer)
    everywhere.remove()
    assert calls == ["before", "after", "everywhere"]


def after_the_scheduler(optimizer: Any, wrap: Callable[..., Any], monkeypatch: Any) -> None:
    ExponentialLR(optimizer, 0.5)
    take_step(optimizer)
    optimizer.step = wrap(optimizer.step)


def before_the_scheduler(optimizer: Any, wrap: Callable[..., Any], monkeypatch: Any) -> None:
    optimizer.step = MethodType(wrap(type(optimizer).step), optimizer)
    ExponentialLR(optimizer, 0.5)


def on_the_class(optimizer: Any, wrap: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.optim.SGD, "step", wrap(torch.optim.SGD.step))


@pytest.mark.parametrize("lay", [after_the_scheduler, before_the_scheduler, on_the_class])
@pytest.mark.parametrize("alike", [wraps, lambda step: lambda own: own], ids=["wraps", "bare"])
def test_a_step_that_somebody_has_laid_over_it_is_called(
    lay: Callable[..., None], alike: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer, calls = some_optimizer(), []
    lay(optimizer, lambda step: alike(step)(lambda *_: calls.append("own")), monkeypatch)
    calls.clear()
    take_step(optimizer)
    take_step(optimizer)
    assert calls == ["own", "own"]


def test_a_profiler_sees_the_step() -> None:
    with torch.profiler.profile() as profiler:
        take_step(some_optimizer())
    assert any(event.key == "Optimizer.step#SGD.step" for event in profiler.key_averages())


def test_an_optimizer_that_torch_has_not_wrapped_steps_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: calls.append(True))
    take_step(some_optimizer())
    assert calls == [True]
