"""The learning-rate schedulers from the hyperparameters, fitted to the length of the training."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import CyclicLR, LinearLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.lightning_private import schedulers_within
from lit_opt.engine.optim.by_name import Spec, construct, parse
from lit_opt.engine.optim.plan import Plan

# The schedulers that fit the length of the run, and the argument that takes it.
HORIZON: dict[type, str] = {
    OneCycleLR: "total_steps",
    CyclicLR: "step_size_up",
    lr_scheduler.CosineAnnealingLR: "T_max",
    lr_scheduler.CosineAnnealingWarmRestarts: "T_0",
    lr_scheduler.PolynomialLR: "total_iters",
    LinearLR: "total_iters",
}
# Those that multiply the lr as they find it, so that a warm-up may run beside them.
FACTORS = (
    lr_scheduler.StepLR,
    lr_scheduler.MultiStepLR,
    lr_scheduler.ExponentialLR,
    lr_scheduler.ConstantLR,
    ReduceLROnPlateau,
)
NEEDS_A_FUNCTION = "takes a Python function: subclass it and name your class"
MADE_OF_OTHERS = "is made of schedulers: give one of them, and --warmup"
NOT_FROM_HYPERPARAMETERS: dict[type | None, str] = {
    lr_scheduler.LambdaLR: NEEDS_A_FUNCTION,
    lr_scheduler.MultiplicativeLR: NEEDS_A_FUNCTION,
    lr_scheduler.SequentialLR: MADE_OF_OTHERS,
    lr_scheduler.ChainedScheduler: MADE_OF_OTHERS,
}


def build_schedulers(
    spec: Spec | None,
    optimizer: Optimizer,
    plan: Plan,
    warmup: float = 0.0,
    interval: str | None = None,
    monitor: str = "val/loss",
    mode: str = "min",
) -> list[dict[str, Any]]:
    """The schedulers in Lightning's format: none, the warm-up, the scheduler, or both.

    Schedulers that fit the run step per batch, others per epoch; `interval`, "step" or "epoch",
    overrides that and is the unit of their arguments.

    Every param group keeps its own lr as the base of its schedule.

    `warmup`, a fraction of the run: in the first W = round(warmup·total_steps) steps, i = 0 … W-1,
    the lr is multiplied by (i+1)/(W+1). StepLR and its like (`FACTORS`) count from the start of
    the run; others start after the ramp, which counts epochs if they do, and fit the rest of the
    run. OneCycleLR and CyclicLR rise to the optimizer's lr by themselves, for as long as `warmup`
    says.

    ReduceLROnPlateau watches `monitor` at every validation; `mode` is "max" where more of it is
    better.
    """
    cls, given = (None, {}) if spec is None else parse(spec, "scheduler", LRScheduler)
    _check_schedule(cls, warmup, interval)
    if cls is ReduceLROnPlateau:
        given = {"mode": mode, **given}
    unit = interval or ("step" if cls in HORIZON else "epoch")
    if cls is None or cls in FACTORS:
        pairs: list[tuple[LRScheduler, str]]
        pairs = [(ramp, "step") for ramp in _ramps(optimizer, plan.total_steps, warmup)]
        if cls:
            pairs.append((construct(cls, "scheduler", optimizer, given, {}), unit))
    else:
        length = plan.total_steps if unit == "step" else plan.max_epochs
        pairs = [(_fitted(cls, given, optimizer, length, warmup), unit)]
    return [_entry(scheduler, unit, plan, monitor) for scheduler, unit in pairs]


def _entry(scheduler: LRScheduler, unit: str, plan: Plan, monitor: str) -> dict[str, Any]:
    plateau = isinstance(scheduler, ReduceLROnPlateau)
    frequency = plan.validate_every if plateau else 1
    return {
        "scheduler": scheduler, "interval": unit, "frequency": frequency, "monitor": monitor
    }  # fmt: skip


def _check_schedule(cls: type | None, warmup: float, interval: str | None) -> None:
    if not 0 <= warmup < 1:
        raise UserError(f"--warmup is a fraction of the run in [0, 1), got {warmup}")
    if interval not in (None, "step", "epoch"):
        raise UserError(f"--scheduler_interval is step or epoch, got {interval}")
    if cls and cls in NOT_FROM_HYPERPARAMETERS:
        raise UserError(f"--scheduler {cls.__name__} {NOT_FROM_HYPERPARAMETERS[cls]}")
    if cls is ReduceLROnPlateau and interval == "step":
        raise UserError("ReduceLROnPlateau follows epochs; drop --scheduler_interval")


def _whole(length: float) -> int:
    if length <= 0 or math.isinf(length):
        raise UserError(f"the scheduler needs the run's length, not {length}; set --max_epochs")
    return int(length)


def _ramps(optimizer: Optimizer, length: float, warmup: float) -> list[LinearLR]:
    """The warm-up, if it has a step."""
    steps = round(warmup * _whole(length)) if warmup else 0
    return [LinearLR(optimizer, 1 / (steps + 1), 1.0, steps)] if steps else []


def _fitted(
    cls: type, given: dict[str, Any], optimizer: Optimizer, length: float, warmup: float
) -> LRScheduler:
    """The scheduler, after the ramp if there is one; it lasts as long as the run unless `given`."""
    if cls in (OneCycleLR, CyclicLR):
        return _one_cycle(cls, given, optimizer, length, warmup)
    ramps = _ramps(optimizer, length, warmup)
    start = ramps[0].total_iters if ramps else 0
    fits_run = cls in HORIZON and HORIZON[cls] not in given
    if fits_run:
        given = {HORIZON[cls]: max(1, _whole(length) - start), **given}
    scheduler: LRScheduler = construct(cls, "scheduler", optimizer, given, {})
    scheduler.fitted = given[HORIZON[cls]] if fits_run else None  # type: ignore[attr-defined]
    if not ramps:
        return scheduler
    return lr_scheduler.SequentialLR(optimizer, [*ramps, scheduler], [start])


def _one_cycle(
    cls: type, given: dict[str, Any], optimizer: Optimizer, length: float, warmup: float
) -> LRScheduler:
    """OneCycleLR or CyclicLR up to each group's lr and down again, momentum only if there is some.

    A `base_lr` that is given is that of a group with the optimizer's own lr.
    """
    lr, rates = optimizer.defaults["lr"], [group["lr"] for group in optimizer.param_groups]
    has_momentum = optimizer.defaults.get("momentum") or "betas" in optimizer.defaults
    given = {"cycle_momentum": bool(has_momentum), **given}
    ours: dict[str, Any] = {"max_lr": rates}
    if cls is OneCycleLR:
        if not given.keys() & {"total_steps", "epochs"}:
            given["total_steps"] = _whole(length)
        if warmup:
            ours["pct_start"] = warmup * (1 + 1e-9)  # torch can't divide a rise of exactly 1 step
    else:
        base = given.get("base_lr", lr / 4)  # L. Smith 2017, arXiv:1506.01186, section 3.3
        if isinstance(base, float | int):
            given["base_lr"] = [base * (rate / lr) if lr else base for rate in rates]
        if warmup or "step_size_up" not in given:
            up = max(1, round((warmup or 0.5) * _whole(length)))
            ours |= {"step_size_up": up, "step_size_down": max(1, _whole(length) - up)}
    scheduler: LRScheduler = construct(cls, "scheduler", optimizer, given, ours)
    if cls is OneCycleLR:
        scheduler.fitted = scheduler.total_steps - 1  # type: ignore[attr-defined]
    return scheduler


def is_over(scheduler: LRScheduler) -> bool:
    """Whether a schedule that was fitted to the run is over, in a run that became longer."""
    last = [scheduler, *schedulers_within(scheduler)][-1]
    length = getattr(last, "fitted", None)
    return length is not None and last.last_epoch >= length


# Where torch's param groups and schedulers keep learning rates.
RATE_KEYS = {
    *("lr", "initial_lr", "max_lr", "min_lr"),
    *("base_lrs", "max_lrs", "min_lrs", "default_min_lr", "eta_min"),
}


def scale_lr(optimizer: Optimizer, schedulers: Iterable[LRScheduler], factor: float) -> None:
    """Multiplies the lr, and the rest of its curve, by `factor`, at any time of a run."""
    for holder in [*optimizer.param_groups, *map(vars, _all_of(schedulers))]:
        for key in RATE_KEYS & holder.keys():
            rates = holder[key]
            many = isinstance(rates, list)
            holder[key] = [rate * factor for rate in rates] if many else rates and rates * factor


def _all_of(schedulers: Iterable[LRScheduler]) -> Iterator[LRScheduler]:
    for scheduler in schedulers:
        yield scheduler
        yield from _all_of(schedulers_within(scheduler))
