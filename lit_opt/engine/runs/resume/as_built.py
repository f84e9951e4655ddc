"""What optimizers and schedulers are when they are built, and its merge into a checkpoint."""

from collections.abc import Mapping
from copy import deepcopy
from itertools import chain, count
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.types import LRSchedulerConfig

from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import Plan, plan_of
from lit_opt.engine.optim.schedulers import build_schedulers

Built = dict[str, Any]  # plain values, kept in checkpoints
RATES = {"lr", "initial_lr", "max_lr", "min_lr"}
CYCLED = {"momentum", "betas", "base_momentum", "max_momentum"}
OWN_TENSORS = ("amsgrad", "centered", "momentum")  # options that give each weight one more tensor


def merged(then: Built, now: Built, restored: Mapping[str, Any]) -> Built:
    """`restored`, but for what is built otherwise now than then."""
    return {**restored, **{k: v for k, v in now.items() if k not in then or then[k] != v}}


def as_built(
    optimizers: list[Any], configs: list[LRSchedulerConfig], module: pl.LightningModule
) -> list[Built]:
    """Each optimizer's class, its param groups with the names of parameters, and its schedulers."""
    names = {p: name for name, p in module.named_parameters()}
    return [
        {
            "class": _path_of(optimizer),
            "groups": [
                {**group, "params": [names.get(p, f"{k}.{j}") for j, p in enumerate(params)]}
                for k, group in enumerate(optimizer.param_groups)
                for params in [group["params"]]
            ],
            "schedulers": [
                {
                    "class": _path_of(config.scheduler),
                    "unit": [config.interval, config.frequency],
                    "state": deepcopy(config.scheduler.state_dict()),
                }
                for config in configs_of(optimizer, optimizers, configs)
            ],
        }
        for optimizer in optimizers
    ]  # fmt: skip


def configs_of(
    optimizer: Any, optimizers: list[Any], configs: list[LRSchedulerConfig]
) -> list[LRSchedulerConfig]:
    """The schedulers of an optimizer; the first has those that name none."""
    return [c for c in configs if getattr(c.scheduler, "optimizer", optimizers[0]) is optimizer]


def _path_of(part: Any) -> str:
    return f"{type(part).__module__}.{type(part).__qualname__}"


def as_built_by_older(
    trainer: Any, module: Any, checkpoint: Mapping[str, Any], steps: float
) -> Any:
    """The same for a checkpoint that has no more than a LitModule's hyperparameters and `steps`."""
    hp, plan = checkpoint["hyper_parameters"], plan_of(trainer)
    if steps != plan.total_steps:
        plan = Plan(steps, plan.max_epochs + 1, plan.validate_every, plan.may_fuse)
    optimizer = build_optimizer(hp["optimizer"], module, hp["lr"], plan.may_fuse)
    modes = [getattr(config.scheduler, "mode", "min") for config in trainer.lr_scheduler_configs]
    schedule = hp["scheduler"], optimizer, plan, hp["warmup"], hp["scheduler_interval"]
    entries = build_schedulers(*schedule, mode=[*modes, "min"][0])
    return as_built([optimizer], [LRSchedulerConfig(**entry) for entry in entries], module)


def classes(built: list[Built]) -> list[str]:
    return [part["class"] for part in built]


def moved_keys(then: Built, now: Built) -> set[str]:
    """What another schedule moves in the param groups; nothing if the schedule is the same."""
    schedulers = then["schedulers"] + now["schedulers"]
    same = str(then["schedulers"]) == str(now["schedulers"])
    if same and (then["class"] == now["class"] or not schedulers):
        return set()
    cycles = any("Cycl" in name for name in classes(schedulers))
    return RATES | CYCLED if cycles else RATES


def base_lr(group: Mapping[str, Any]) -> float:
    """The lr that a param group was given, from which its schedule is made."""
    rate: float = group.get("max_lr") or group.get("initial_lr", group.get("lr", 1.0))
    return rate


def merged_optimizer(state: dict[str, Any], then: Built, now: Built) -> dict[str, Any]:
    """An optimizer's saved state for the groups as they are built now.

    Every parameter takes its own state along. Groups that a callback has added come last; their lr
    is multiplied by what the first group's is.
    """
    old, new, moved = then["groups"], now["groups"], moved_keys(then, now)
    home = {name: k for k, group in enumerate(old) for name in group["params"]}
    places = {name: i for i, name in enumerate(chain(*(group["params"] for group in old)))}
    groups: list[Built] = []
    order: list[int | None] = []  # the place in the checkpoint of each parameter
    for built in new:
        k = home.get(next(iter(built["params"]), ""))
        was, saved = ({}, {}) if k is None else (old[k], state["param_groups"][k])
        options = {key: v for key, v in built.items() if key not in moved or key not in saved}
        groups.append(merged(was, options, saved) | {"params": built["params"]})
        order += [places.get(name) for name in built["params"]]
    ratio = base_lr(new[0]) / (base_lr(old[0]) or 1.0)
    for group in state["param_groups"][len(old) :]:
        groups.append({k: v * ratio if k in RATES else v for k, v in group.items()})
        order += group["params"]
    ids = count()
    for group in groups:
        group["params"] = [next(ids) for _ in group["params"]]
    kept = {i: state["state"][place] for i, place in enumerate(order) if place in state["state"]}
    if any(_own_tensors(a) != _own_tensors(b) for a, b in zip(old, new, strict=False)):
        kept = {}
    return {**state, "state": kept, "param_groups": groups}


def _own_tensors(group: Built) -> list[bool]:
    return [bool(group.get(option)) for option in OWN_TENSORS]
