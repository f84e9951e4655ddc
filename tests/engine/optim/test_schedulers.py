import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import Plan
from lit_opt.engine.optim.schedulers import build_schedulers, scale_lr

LR, EPOCHS, BATCHES = 0.4, 5, 8
STEPS = EPOCHS * BATCHES
PLATEAU = {"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5}
COSINE = {"name": "CosineAnnealingLR", "eta_min": 0.01}


def setup(spec, warmup=0.0, optimizer="SGD", total_steps=STEPS, max_epochs=EPOCHS, **arguments):
    opt = build_optimizer(optimizer, nn.Linear(1, 1), LR)
    return opt, build_schedulers(spec, opt, Plan(total_steps, max_epochs), warmup, **arguments)


def simulate(opt, entries, start: int = 0, stop: int = STEPS) -> list[float]:
    """The lr of each optimizer step, schedulers stepped as Lightning steps them."""
    lrs = []
    for step in range(start, stop):
        lrs.append(opt.param_groups[0]["lr"])
        opt.step()
        for entry in entries:
            if entry["interval"] == "step":
                entry["scheduler"].step()
            elif (step + 1) % BATCHES == 0:
                plateau = isinstance(entry["scheduler"], lr_scheduler.ReduceLROnPlateau)
                entry["scheduler"].step(*[1.0] * plateau)  # a metric that never improves
    return lrs


def curve(spec: Any, warmup: float = 0.0, **arguments: Any) -> list[float]:
    return simulate(*setup(spec, warmup, **arguments))


def cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def one_cycle(i: int, n: int, rise: float) -> float:
    top = rise * n - 1
    if i <= top:
        return cosine(LR / 25, LR, i / top)
    return cosine(LR, LR / 25 / 1e4, (i - top) / (n - 1 - top))


def ramp(i: int, steps: int) -> float:
    return min(1.0, (i + 1) / (steps + 1))


Formulas = dict[str, tuple[Any, Callable[..., float]]]
# Of a batch's index i in a run of n steps, and of an epoch's index e.
PER_STEP: Formulas = {
    "CosineAnnealingLR": (COSINE, lambda i, n: cosine(LR, 0.01, i / n)),
    "CosineAnnealingWarmRestarts": (
        "cosine_annealing_warm_restarts",
        lambda i, n: cosine(LR, 0, i / n),
    ),
    "PolynomialLR": ({"name": "Polynomial", "power": 2}, lambda i, n: LR * (1 - i / n) ** 2),
    "LinearLR": (
        {"name": "linear", "start_factor": 1.0, "end_factor": 0.0},
        lambda i, n: LR * (1 - i / n),
    ),
}
RISING: Formulas = {
    "OneCycleLR": ("one_cycle", lambda i, n: one_cycle(i, n, 0.3)),
    "CyclicLR": ("cyclic", lambda i, n: LR / 4 + 0.75 * LR * (1 - abs(1 - i / (n / 2)))),
}
PER_EPOCH: Formulas = {
    "StepLR": ({"name": "StepLR", "step_size": 2}, lambda e: LR * 0.1 ** (e // 2)),
    "MultiStepLR": (
        {"name": "multi_step", "milestones": [1, 3], "gamma": 0.5},
        lambda e: LR * 0.5 ** ((e >= 1) + (e >= 3)),
    ),
    "ExponentialLR": ({"name": "exponential", "gamma": 0.9}, lambda e: LR * 0.9**e),
    "ConstantLR": (
        {"name": "ConstantLR", "factor": 0.5, "total_iters": 3},
        lambda e: LR * (0.5 if e < 3 else 1),
    ),
    "ReduceLROnPlateau": (PLATEAU, lambda e: LR * 0.5 ** max(0, e - 1)),
    "none": (None, lambda e: LR),
}
REFUSED = dict.fromkeys(("LambdaLR", "MultiplicativeLR"), "takes a Python function")
REFUSED |= dict.fromkeys(("SequentialLR", "ChainedScheduler"), "made of schedulers")


def test_every_scheduler_of_torch_is_tested_here() -> None:
    known = {n: cls for n, cls in vars(lr_scheduler).items() if inspect.isclass(cls)}
    known = {n for n, cls in known.items() if issubclass(cls, LRScheduler) and n[0] != "_"}
    assert {*PER_STEP, *RISING, *PER_EPOCH, *REFUSED} == known - {"LRScheduler"} | {"none"}


def same(lrs: list[float], expected: Iterable[float]) -> bool:
    return lrs == pytest.approx(list(expected), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", [*PER_STEP, *RISING])
def test_schedulers_with_a_horizon_span_the_run(name: str) -> None:
    spec, formula = (PER_STEP | RISING)[name]
    assert same(curve(spec), (formula(i, STEPS) for i in range(STEPS)))
    if name in PER_STEP:
        by_epoch = curve(spec, interval="epoch")
        assert same(by_epoch, (formula(i // BATCHES, EPOCHS) for i in range(STEPS)))
        warm, rest = [LR * ramp(i, 10) for i in range(10)], STEPS - 10
        assert same(curve(spec, warmup=0.25), warm + [formula(i, rest) for i in range(rest)])


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("name", PER_EPOCH)
def test_schedulers_by_the_epoch_go_along_with_the_warmup(name: str, warmup: float) -> None:
    spec, formula = PER_EPOCH[name]
    steps = round(warmup * STEPS)
    assert same(curve(spec, warmup), (ramp(i, steps) * formula(i // BATCHES) for i in range(STEPS)))


def test_warmup_is_the_rise_of_one_cycle_and_cyclic() -> None:
    expected = [one_cycle(i, STEPS, 0.2) for i in range(STEPS)]
    assert curve("OneCycle", 0.2) == pytest.approx(expected, rel=1e-6)
    assert curve("OneCycle", 1 / STEPS)[0] == pytest.approx(LR / 25)  # torch divides by zero here
    lrs = curve("Cyclic", 0.2)
    assert lrs.index(max(lrs)) == 8
    assert max(lrs) == pytest.approx(LR)


def test_a_given_horizon_wins() -> None:
    expected = [cosine(LR, 0, i / 10) for i in range(10)]
    lrs = curve({"name": "CosineAnnealing", "T_max": 10}, total_steps=math.inf)
    assert lrs[:10] == pytest.approx(expected, abs=1e-12)
    _, [entry] = setup({"name": "OneCycle", "epochs": 3, "steps_per_epoch": 30})
    assert entry["scheduler"].total_steps == 90


@pytest.mark.parametrize("name", ["OneCycle", "Cyclic"])
def test_momentum_moves_only_where_there_is_some(name: str) -> None:
    for optimizer in ("SGD", "RMSprop", "Adagrad", "Adam"):
        _, [entry] = setup(name, optimizer=optimizer)
        assert entry["scheduler"].cycle_momentum is (optimizer == "Adam")
    opt, _ = setup({"name": name, "cycle_momentum": False}, optimizer="Adam")
    assert opt.param_groups[0]["betas"] == (0.9, 0.999)


def test_entries_have_lightnings_keys() -> None:
    assert setup(None)[1] == []
    _, [entry] = setup(PLATEAU, monitor="val/acc")
    assert entry.pop("scheduler").patience == 0
    assert entry == {"interval": "epoch", "frequency": 1, "monitor": "val/acc"}


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ("StepLR", {}, "set --scheduler.step_size"),
        ("cosin", {}, "no scheduler is called 'cosin'; set --scheduler to CosineAnnealingLR"),
        ({"name": "StepLR", "stepsize": 3}, {}, "StepLR has no 'stepsize'.*step_size"),
        ({"name": "OneCycle", "max_lr": 1.0}, {}, "leave out --scheduler.max_lr: --lr sets it"),
        ({"name": "OneCycle", "pct_start": 0.5}, {"warmup": 0.1}, "pct_start: --warmup sets it"),
        ({"name": "OneCycle", "pct_start": 2.0}, {}, "Expected float between 0 and 1"),
        ({"name": "Cyclic", "step_size_up": 3}, {"warmup": 0.1}, "step_size_up: --warmup sets it"),
        *((name, {}, message) for name, message in REFUSED.items()),
        ("OneCycle", {"total_steps": math.inf}, "not inf; set --max_epochs"),
        ("OneCycle", {"total_steps": 0}, "not 0; set --max_epochs"),
        (COSINE, {"max_epochs": -1, "interval": "epoch"}, "not -1; set --max_epochs"),
        (None, {"total_steps": math.inf, "warmup": 0.1}, "not inf; set --max_epochs"),
        (None, {"warmup": 1.0}, r"--warmup .* \[0, 1\), got 1.0"),
        (COSINE, {"interval": "batch"}, "--scheduler_interval is step or epoch, got batch"),
    ],
)
def test_mistakes_in_the_scheduler_are_named(spec, arguments, message) -> None:
    with pytest.raises(UserError, match=message):
        setup(spec, **arguments)


ALL = [spec for spec, _ in (PER_STEP | RISING | PER_EPOCH).values()]


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("change", [5, 10, 21])
@pytest.mark.parametrize("spec", ALL)
def test_a_changed_lr_scales_the_rest_of_the_curve(spec: Any, change: int, warmup: float) -> None:
    plain = curve(spec, warmup)
    opt, entries = setup(spec, warmup)
    assert simulate(opt, entries, stop=change) == plain[:change]
    scale_lr(opt, [entry["scheduler"] for entry in entries], 3.0)
    rest = [3.0 * lr for lr in plain[change:]]
    assert simulate(opt, entries, start=change) == pytest.approx(rest, abs=1e-9)


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("spec", ALL)
def test_schedulers_continue_from_a_file(spec: Any, warmup: float) -> None:
    opt, entries = setup(spec, warmup)
    simulate(opt, entries, stop=21)
    torch.save([opt.state_dict(), *[e["scheduler"].state_dict() for e in entries]], "state.pt")
    restored, others = setup(spec, warmup)
    parts = [restored, *[e["scheduler"] for e in others]]
    for part, state in zip(parts, torch.load("state.pt", weights_only=True), strict=True):
        part.load_state_dict(state)
    assert simulate(restored, others, start=21) == simulate(opt, entries, start=21)
