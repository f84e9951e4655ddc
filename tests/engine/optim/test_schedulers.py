import inspect
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from lit_opt.engine.errors import UserError
from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import Plan
from lit_opt.engine.optim.schedulers import build_schedulers, scale_lr

LR, EPOCHS, BATCHES = 0.4, 5, 8
STEPS = EPOCHS * BATCHES
PLATEAU = {"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5}
COSINE = {"name": "CosineAnnealingLR", "eta_min": 0.01}
Entries = list[dict[str, Any]]


def setup(
    spec: Any, warmup: float = 0.0, optimizer: str = "SGD", **arguments: Any
) -> tuple[Optimizer, Entries]:
    opt = build_optimizer(optimizer, nn.Linear(1, 1), LR)
    plan = Plan(arguments.pop("total_steps", STEPS), arguments.pop("max_epochs", EPOCHS))
    return opt, build_schedulers(spec, opt, plan, warmup, **arguments)


def simulate(opt: Optimizer, entries: Entries, start: int = 0, stop: int = STEPS) -> list[float]:
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


# Formulas of a batch's index i in a run of n steps, and of an epoch's index e.
PER_STEP: dict[str, tuple[Any, Callable[[int, int], float]]] = {
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
RISING: dict[str, tuple[Any, Callable[[int, int], float]]] = {
    "OneCycleLR": ("one_cycle", lambda i, n: one_cycle(i, n, 0.3)),
    "CyclicLR": ("cyclic", lambda i, n: LR / 4 + 0.75 * LR * (1 - abs(1 - i / (n / 2)))),
}
PER_EPOCH: dict[str, tuple[Any, Callable[[int], float]]] = {
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
}
REFUSED = {"LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler"}


def test_every_scheduler_of_torch_is_tested_here() -> None:
    known = [name for name, cls in vars(lr_scheduler).items() if inspect.isclass(cls)]
    known = [n for n in known if issubclass(getattr(lr_scheduler, n), LRScheduler) and n[0] != "_"]
    assert {*PER_STEP, *RISING, *PER_EPOCH, *REFUSED} == set(known) - {"LRScheduler"}


def ramp(i: int, steps: int) -> float:
    return min(1.0, (i + 1) / (steps + 1))


@pytest.mark.parametrize("name", [*PER_STEP, *RISING])
def test_schedulers_with_a_horizon_span_the_run(name: str) -> None:
    spec, formula = (PER_STEP | RISING)[name]
    assert curve(spec) == pytest.approx([formula(i, STEPS) for i in range(STEPS)], abs=1e-12)


@pytest.mark.parametrize("name", PER_STEP)
def test_after_the_warmup_they_span_the_rest(name: str) -> None:
    spec, formula = PER_STEP[name]
    warm = [LR * ramp(i, 10) for i in range(10)]
    rest = [formula(i, STEPS - 10) for i in range(STEPS - 10)]
    assert curve(spec, warmup=0.25) == pytest.approx(warm + rest, abs=1e-12)


@pytest.mark.parametrize("name", PER_STEP)
def test_by_the_epoch_they_span_the_epochs(name: str) -> None:
    spec, formula = PER_STEP[name]
    expected = [formula(i // BATCHES, EPOCHS) for i in range(STEPS)]
    assert curve(spec, interval="epoch") == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("name", PER_EPOCH)
def test_schedulers_by_the_epoch_go_along_with_the_warmup(name: str, warmup: float) -> None:
    spec, formula = PER_EPOCH[name]
    expected = [ramp(i, round(warmup * STEPS)) * formula(i // BATCHES) for i in range(STEPS)]
    assert curve(spec, warmup) == pytest.approx(expected, rel=1e-12)


def test_warmup_alone_then_constant() -> None:
    assert curve(None) == [LR] * STEPS
    assert setup(None)[1] == []
    assert curve(None, 0.25) == pytest.approx([LR * ramp(i, 10) for i in range(STEPS)])


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
    for optimizer, moves in (
        ("SGD", False),
        ("RMSprop", False),
        ("Adagrad", False),
        ("Adam", True),
    ):
        _, [entry] = setup(name, optimizer=optimizer)
        assert entry["scheduler"].cycle_momentum is moves
    opt, _ = setup({"name": name, "cycle_momentum": False}, optimizer="Adam")
    assert opt.param_groups[0]["betas"] == (0.9, 0.999)


def test_entries_have_lightnings_keys() -> None:
    _, [entry] = setup(PLATEAU, monitor="val/acc")
    assert entry.pop("scheduler").patience == 0
    assert entry == {"interval": "epoch", "frequency": 1, "monitor": "val/acc"}


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ("StepLR", {}, "set --scheduler.step_size"),
        ("cosin", {}, "no scheduler is called 'cosin'; set --scheduler to CosineAnnealingLR"),
        ({"name": "StepLR", "stepsize": 3}, {}, "StepLR has no 'stepsize'.*step_size"),
        (
            {"name": "OneCycle", "max_lr": 1.0},
            {},
            "leave out --scheduler.max_lr: --lr sets it",
        ),
        (
            {"name": "OneCycle", "pct_start": 0.5},
            {"warmup": 0.1},
            "pct_start: --warmup sets it",
        ),
        ({"name": "OneCycle", "pct_start": 2.0}, {}, "Expected float between 0 and 1"),
        (
            {"name": "Cyclic", "step_size_up": 3},
            {"warmup": 0.1},
            "step_size_up: --warmup sets it",
        ),
        ("LambdaLR", {}, "takes a Python function"),
        ("MultiplicativeLR", {}, "takes a Python function"),
        ("SequentialLR", {}, "made of schedulers"),
        ("ChainedScheduler", {}, "made of schedulers"),
        ("OneCycle", {"total_steps": math.inf}, "not inf; set --max_epochs"),
        ("OneCycle", {"total_steps": 0}, "not 0; set --max_epochs"),
        (COSINE, {"max_epochs": -1, "interval": "epoch"}, "not -1; set --max_epochs"),
        (None, {"total_steps": math.inf, "warmup": 0.1}, "not inf; set --max_epochs"),
        (None, {"warmup": 1.0}, r"--warmup .* \[0, 1\), got 1.0"),
        (COSINE, {"interval": "batch"}, "--scheduler_interval is step or epoch, got batch"),
    ],
)
def test_mistakes_in_the_scheduler_are_named(
    spec: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        setup(spec, **arguments)


ALL = [COSINE, *(spec for spec, _ in [*PER_STEP.values(), *RISING.values(), *PER_EPOCH.values()])]


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("change", [5, 10, 21])
@pytest.mark.parametrize("spec", [None, *ALL], ids=str)
def test_a_changed_lr_scales_the_rest_of_the_curve(spec: Any, change: int, warmup: float) -> None:
    opt, entries = setup(spec, warmup)
    lrs = simulate(opt, entries, stop=change)
    scale_lr(opt, [entry["scheduler"] for entry in entries], 3.0)
    lrs += simulate(opt, entries, start=change)
    plain = curve(spec, warmup)
    expected = plain[:change] + [3.0 * lr for lr in plain[change:]]
    assert lrs == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("spec", ALL, ids=str)
def test_schedulers_continue_from_a_file(spec: Any, warmup: float) -> None:
    opt, entries = setup(spec, warmup)
    simulate(opt, entries, stop=21)
    file = io.BytesIO()
    torch.save([opt.state_dict(), *[e["scheduler"].state_dict() for e in entries]], file)
    file.seek(0)
    restored, others = setup(spec, warmup)
    saved = torch.load(file, weights_only=True)
    for part, state in zip([restored, *[e["scheduler"] for e in others]], saved, strict=True):
        part.load_state_dict(state)
    assert simulate(restored, others, start=21) == simulate(opt, entries, start=21)
