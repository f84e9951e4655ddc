"""Optimizer and learning-rate schedulers from the hyperparameters.

A spec is `{"name": "SGD", "momentum": 0.9}`, or the bare name: a class of torch.optim or of
torch.optim.lr_scheduler (`adam`, `cosine_annealing`, `OneCycleLR` will do), or the import path of
a class of your own. Its other keys are the class's arguments. What the user must mend raises
`UserError`.
"""

import difflib
import inspect
import math
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import CyclicLR, LinearLR, LRScheduler, OneCycleLR

from lit_opt.errors import UserError
from lit_opt.muon import MuonAdamW

Spec = str | Mapping[str, Any]


def build_optimizer(spec: Spec, net: nn.Module, lr: float) -> Optimizer:
    """The optimizer of the parameters that require grad."""
    cls, given = _parse(spec, "optimizer", Optimizer)
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
    optimizer: Optimizer = _construct(cls, "optimizer", first, given, {"lr": lr})
    return optimizer


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
) -> list[dict[str, Any]]:
    """The schedulers in Lightning's format: none, the warm-up, the scheduler, or both.

    Schedulers that fit the run step per batch, others per epoch; `interval`, "step" or "epoch",
    overrides that and is the unit of their arguments. `total_steps` counts optimizer steps; it and
    `max_epochs` may be infinite or -1 where nothing depends on them.

    `warmup`, a fraction of the run: in the first W = round(warmup·total_steps) steps, i = 0 … W-1,
    the lr is multiplied by (i+1)/(W+1). StepLR and its like (`_FACTORS`) count from the start of
    the run; others start after the ramp, which counts epochs if they do, and fit the rest of the
    run. OneCycleLR and CyclicLR rise by themselves, for as long as `warmup` says.
    """
    if not 0 <= warmup < 1:
        raise UserError(f"--warmup is a fraction of the run in [0, 1), got {warmup}")
    if interval not in (None, "step", "epoch"):
        raise UserError(f"--scheduler_interval is step or epoch, got {interval}")
    pairs: list[tuple[LRScheduler, str]]
    cls, given = (None, {}) if spec is None else _parse(spec, "scheduler", LRScheduler)
    if cls in _REFUSED:
        raise UserError(f"--scheduler {cls.__name__} {_REFUSED[cls]}")
    if cls is None or cls in _FACTORS:
        pairs = [(ramp, "step") for ramp in _ramps(optimizer, total_steps, warmup)]
        if cls:
            scheduler = _construct(cls, "scheduler", optimizer, given, {})
            pairs.append((scheduler, interval or "epoch"))
    else:
        unit = interval or ("step" if cls in _HORIZON else "epoch")
        length = total_steps if unit == "step" else max_epochs
        pairs = [(_fitted(cls, given, optimizer, lr, length, warmup), unit)]
    return [
        {"scheduler": scheduler, "interval": unit, "frequency": 1, "monitor": monitor}
        for scheduler, unit in pairs
    ]


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
    if cls in _HORIZON and _HORIZON[cls] not in given:
        given = {_HORIZON[cls]: max(1, _finite(length) - start), **given}
    scheduler: LRScheduler = _construct(cls, "scheduler", optimizer, given, {})
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
    scheduler: LRScheduler = _construct(cls, "scheduler", optimizer, given, ours)
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


def _parse(spec: Spec, flag: str, base: type) -> tuple[type[Any], dict[str, Any]]:
    """The class that a spec names, and its arguments; the lists of a YAML file become tuples."""
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    cls = _find(str(given.pop("name", "")), flag, base)
    return cls, {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}


def _find(name: str, flag: str, base: type) -> type[Any]:
    if "." in name:
        try:
            cls = pkgutil.resolve_name(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(f"--{flag} {name} can't be imported: {error}") from error
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise UserError(f"--{flag} {name} is no subclass of {base.__name__}")
        return cls
    known = {
        _plain(key): value
        for key, value in {**vars(torch.optim), **vars(lr_scheduler)}.items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    }
    if _plain(name) not in known:
        near = _nearest(name, [cls.__name__ for cls in known.values()])
        raise UserError(f"no {flag} is called {name!r}; set --{flag} to {near} or an import path")
    return known[_plain(name)]


def _plain(name: str) -> str:
    return name.lower().replace("_", "").removesuffix("lr")


def _nearest(name: str, names: Iterable[str]) -> str:
    """Up to three names like `name`; all, if none is."""
    by_plain = {_plain(known): known for known in names}
    near = difflib.get_close_matches(_plain(name), by_plain, cutoff=0.5)
    return ", ".join([by_plain[key] for key in near] or sorted(by_plain.values()))


def _construct(
    cls: type[Any], flag: str, first: Any, given: dict[str, Any], ours: dict[str, Any]
) -> Any:
    """`cls(first, **ours, **given)`, where `ours` are not the spec's to set."""
    _check_arguments(cls, flag, given, ours)
    try:
        return cls(first, **ours, **given)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in {**ours, **given}.items())
        raise UserError(f"--{flag} {cls.__name__}({shown}): {error}") from error


def _check_arguments(
    cls: type[Any], flag: str, given: dict[str, Any], ours: dict[str, Any]
) -> None:
    parameters = list(inspect.signature(cls).parameters.values())[1:]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    known = named.keys() - ours.keys() - {"last_epoch"}
    for key in given:
        if key in ours:
            owner = "--lr" if "lr" in key else "--warmup"
            raise UserError(f"leave out --{flag}.{key}: {owner} sets it")
        if key not in known and not open_ended:
            near = _nearest(key, known)
            raise UserError(f"{cls.__name__} has no {key!r}; --{flag}.KEY can be {near}")
    for key in known - given.keys():
        if named[key].default is inspect.Parameter.empty:
            raise UserError(f"{cls.__name__} needs {key}: set --{flag}.{key}")
