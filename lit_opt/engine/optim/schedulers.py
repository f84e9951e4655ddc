"""Optimizer and learning-rate schedulers from the hyperparameters."""

import inspect
import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import CyclicLR, LinearLR, LRScheduler, OneCycleLR

from lit_opt.engine.errors import UserError
from lit_opt.engine.optim.by_name import Spec, construct, parse
from lit_opt.engine.optim.muon import MuonAdamW


def build_optimizer(spec: Spec, net: nn.Module, lr: float, may_fuse: bool = True) -> Optimizer:
    """The optimizer of the parameters that require grad.

    Fused, one pass over the memory instead of one an operation, where torch has it for the class
    and the device, unless the spec says `fused` itself.
    """
    cls, given = parse(spec, "optimizer", Optimizer)
    owners = [m for m in net.modules() if any(p.requires_grad for p in m.parameters(False))]
    if not owners:
        raise UserError("the net has no parameters that require grad: there is nothing to train")
    if cls is torch.optim.SparseAdam and not all(getattr(m, "sparse", False) for m in owners):
        raise UserError(
            "SparseAdam trains nothing but nn.Embedding(sparse=True), and the net has other "
            "parameters; set --optimizer Adam"
        )
    params = [p for p in net.parameters() if p.requires_grad]
    first, cls = (net, MuonAdamW) if cls is torch.optim.Muon else (params, cls)
    if may_fuse and _can_fuse(cls, params) and not given.keys() & _INSTEAD_OF_FUSED:
        given["fused"] = True
    optimizer: Optimizer = construct(cls, "optimizer", first, given, {"lr": lr})
    return optimizer


_INSTEAD_OF_FUSED = {"fused", "foreach", "differentiable"}


def _can_fuse(cls: type, params: list[nn.Parameter]) -> bool:
    known = "fused" in inspect.signature(cls).parameters
    return known and all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in params)


# The schedulers that fit the length of the run, and the argument that takes it.
_HORIZON: dict[type, str] = {
    OneCycleLR: "total_steps",
    CyclicLR: "step_size_up",
    lr_scheduler.CosineAnnealingLR: "T_max",
    lr_scheduler.CosineAnnealingWarmRestarts: "T_0",
    lr_scheduler.PolynomialLR: "total_iters",
    LinearLR: "total_iters",
}
# Those that multiply the lr as they find it, so that a warm-up may run beside them.
_FACTORS = (
    lr_scheduler.StepLR,
    lr_scheduler.MultiStepLR,
    lr_scheduler.ExponentialLR,
    lr_scheduler.ConstantLR,
    lr_scheduler.ReduceLROnPlateau,
)
_REFUSED: dict[type, str] = {
    lr_scheduler.LambdaLR: "takes a Python function: subclass it and name your class",
    lr_scheduler.MultiplicativeLR: "takes a Python function: subclass it and name your class",
    lr_scheduler.SequentialLR: "is made of schedulers: give one of them, and --warmup",
    lr_scheduler.ChainedScheduler: "is made of schedulers: give one of them, and --warmup",
}


def build_schedulers(
    spec: Spec | None,
    optimizer: Optimizer,
    lr: float,
    total_steps: float,
    max_epochs: float,
    warmup: float,
    monitor: str,
    interval: str | None = None,
    mode: str = "min",
    validate_every: int = 1,
) -> list[dict[str, Any]]:
    """The schedulers in Lightning's format: none, the warm-up, the scheduler, or both.

    Schedulers that fit the run step per batch, others per epoch; `interval`, "step" or "epoch",
    overrides that and is the unit of their arguments. `total_steps` counts optimizer steps; it and
    `max_epochs` may be infinite or -1 where nothing depends on them.

    `warmup`, a fraction of the run: in the first W = round(warmup·total_steps) steps, i = 0 … W-1,
    the lr is multiplied by (i+1)/(W+1). StepLR and its like (`_FACTORS`) count from the start of
    the run; others start after the ramp, which counts epochs if they do, and fit the rest of the
    run. OneCycleLR and CyclicLR rise by themselves, for as long as `warmup` says.

    ReduceLROnPlateau watches `monitor`, measured after every `validate_every` epochs; `mode` is
    "max" where more of it is better.
    """
    if not 0 <= warmup < 1:
        raise UserError(f"--warmup is a fraction of the run in [0, 1), got {warmup}")
    if interval not in (None, "step", "epoch"):
        raise UserError(f"--scheduler_interval is step or epoch, got {interval}")
    cls, given = (None, {}) if spec is None else parse(spec, "scheduler", LRScheduler)
    if cls in _REFUSED:
        raise UserError(f"--scheduler {cls.__name__} {_REFUSED[cls]}")
    if cls is lr_scheduler.ReduceLROnPlateau:
        given = {"mode": mode, **given}
        if interval == "step":
            raise UserError("ReduceLROnPlateau follows epochs; drop --scheduler_interval")
    if cls is None or cls in _FACTORS:
        pairs: list[tuple[LRScheduler, str]] = [
            (ramp, "step") for ramp in _ramps(optimizer, total_steps, warmup)
        ]
        if cls:
            pairs.append((construct(cls, "scheduler", optimizer, given, {}), interval or "epoch"))
    else:
        unit = interval or ("step" if cls in _HORIZON else "epoch")
        length = total_steps if unit == "step" else max_epochs
        pairs = [(_fitted(cls, given, optimizer, lr, length, warmup), unit)]
    return [_config(scheduler, unit, monitor, validate_every) for scheduler, unit in pairs]


def _config(
    scheduler: LRScheduler, interval: str, monitor: str, validate_every: int
) -> dict[str, Any]:
    is_plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
    frequency = validate_every if is_plateau else 1
    config = {"scheduler": scheduler, "interval": interval, "frequency": frequency}
    return {**config, "monitor": monitor}


def finished(scheduler: Any) -> bool:
    """Whether a schedule that was fitted to the run is over, in a run that became longer."""
    last = getattr(scheduler, "_schedulers", [scheduler])[-1]
    length = getattr(last, "fitted", None)
    return length is not None and last.last_epoch >= length


def _finite(length: float) -> int:
    if length <= 0 or math.isinf(length):
        raise UserError(f"the scheduler needs the run's length, not {length}; set --max_epochs")
    return int(length)


def _ramps(optimizer: Optimizer, length: float, warmup: float) -> list[LinearLR]:
    """The warm-up, if it has a step."""
    steps = round(warmup * _finite(length)) if warmup else 0
    return [LinearLR(optimizer, 1 / (steps + 1), 1.0, steps)] if steps else []


def _fitted(
    cls: type, given: dict[str, Any], optimizer: Optimizer, lr: float, length: float, warmup: float
) -> LRScheduler:
    """The scheduler, after the ramp if there is one; it lasts as long as the run unless `given`."""
    if cls in (OneCycleLR, CyclicLR):
        return _one_cycle(cls, given, optimizer, lr, length, warmup)
    ramps = _ramps(optimizer, length, warmup)
    start = ramps[0].total_iters if ramps else 0
    fitted = cls in _HORIZON and _HORIZON[cls] not in given
    if fitted:
        given = {_HORIZON[cls]: max(1, _finite(length) - start), **given}
    scheduler: LRScheduler = construct(cls, "scheduler", optimizer, given, {})
    if fitted:
        scheduler.fitted = given[_HORIZON[cls]]  # type: ignore[attr-defined]
    if not ramps:
        return scheduler
    return lr_scheduler.SequentialLR(optimizer, [*ramps, scheduler], [start])


def _one_cycle(
    cls: type, given: dict[str, Any], optimizer: Optimizer, lr: float, length: float, warmup: float
) -> LRScheduler:
    """OneCycleLR or CyclicLR up to `lr` and down again, momentum only if the optimizer has some."""
    has_momentum = optimizer.defaults.get("momentum") or "betas" in optimizer.defaults
    given = {"cycle_momentum": bool(has_momentum), **given}
    ours: dict[str, Any] = {"max_lr": lr}
    if cls is OneCycleLR:
        if not given.keys() & {"total_steps", "epochs"}:
            given["total_steps"] = _finite(length)
        if warmup:
            ours["pct_start"] = warmup * (1 + 1e-9)  # torch can't divide a rise of exactly 1 step
    else:
        given.setdefault("base_lr", lr / 4)  # L. Smith 2017, arXiv:1506.01186, section 3.3
        if warmup or "step_size_up" not in given:
            up = max(1, round((warmup or 0.5) * _finite(length)))
            ours |= {"step_size_up": up, "step_size_down": max(1, _finite(length) - up)}
    scheduler: LRScheduler = construct(cls, "scheduler", optimizer, given, ours)
    if cls is OneCycleLR:
        scheduler.fitted = scheduler.total_steps - 1  # type: ignore[attr-defined]
    return scheduler


# Where torch's param groups and schedulers keep learning rates.
_LEARNING_RATES = {
    *("lr", "initial_lr", "max_lr", "min_lr"),
    *("base_lrs", "max_lrs", "min_lrs", "default_min_lr", "eta_min", "_last_lr"),
}


def scale_lr(optimizer: Optimizer, schedulers: Iterable[LRScheduler], factor: float) -> None:
    """Multiply the lr, and the rest of its curve, by `factor`, at any time of a run."""
    for holder in [*optimizer.param_groups, *map(vars, _flat(schedulers))]:
        for key in _LEARNING_RATES & holder.keys():
            rates = holder[key]
            many = isinstance(rates, list)
            holder[key] = [rate * factor for rate in rates] if many else rates and rates * factor


def _flat(schedulers: Iterable[LRScheduler]) -> Iterator[LRScheduler]:
    for scheduler in schedulers:
        yield scheduler
        yield from _flat(getattr(scheduler, "_schedulers", []))
