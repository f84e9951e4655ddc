"""A schedule that is another one now is stepped from its start up to the current step."""

import warnings
from copy import deepcopy
from typing import Any

from lightning.pytorch.utilities.types import LRSchedulerConfig

from lit_opt.engine.optim.schedulers import scale_lr
from lit_opt.engine.runs.resume.as_built import (
    Built,
    base_lr,
    classes,
    configs_of,
    merged,
    moved_keys,
)


def replay(trainer: Any, optimizer: Any, then: Built, now: Built) -> None:
    """Brings the schedulers of a restored optimizer, as they are built now, to the current step.

    ReduceLROnPlateau can't be stepped without its metrics: it keeps what it has seen and by what it
    has multiplied lr. So does what a callback has done to lr, unless lr itself was given anew.
    """
    configs = configs_of(optimizer, trainer.optimizers, trainer.lr_scheduler_configs)
    plateaus = [config.reduce_on_plateau for config in configs]
    kept = classes(then["schedulers"]) == classes(now["schedulers"])
    steps = [_steps_done(trainer, config, kept) for config in configs]
    whole = optimizer.param_groups  # the last of which may be added ones, that no schedule knows
    optimizer.param_groups = groups = whole[: len(now["groups"])]
    before = [dict(group) for group in groups]
    same_lr = then["groups"] and base_lr(then["groups"][0]) == base_lr(now["groups"][0])
    factors = [1.0] * len(groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # schedulers without optimizer steps
        if same_lr and kept and any(plateaus):
            _step_from_start(groups, configs, steps, then, moved_keys(then, now))
            pairs = zip(before, groups, strict=True)
            factors = [old["lr"] / group["lr"] if group["lr"] else 1.0 for old, group in pairs]
        _step_from_start(groups, configs, steps, now, moved_keys(then, now))
    for group, factor in zip(groups, factors, strict=True):
        group["lr"] *= factor
    if same_lr and not any(plateaus):
        first = then["groups"][0]
        key = "initial_lr" if "initial_lr" in first else "lr"
        factor = before[0].get(key, first[key]) / (first[key] or 1.0)
        scale_lr(optimizer, [config.scheduler for config in configs], factor)
    for config, a, b in zip(configs, then["schedulers"], now["schedulers"], strict=False):
        if config.reduce_on_plateau and kept:
            state = merged(a["state"], b["state"], config.scheduler.state_dict())
            config.scheduler.load_state_dict(state)
    optimizer.param_groups = whole


def _step_from_start(
    groups: list[dict[str, Any]],
    configs: list[LRSchedulerConfig],
    steps: list[int],
    built: Built,
    moved: set[str],
) -> None:
    for group, start in zip(groups, built["groups"], strict=False):
        group.update({key: start[key] for key in moved & start.keys()})
    for config, scheduler, done in zip(configs, built["schedulers"], steps, strict=True):
        one: Any = config.scheduler
        if not config.reduce_on_plateau:
            one.load_state_dict(deepcopy(scheduler["state"]))
            for _ in range(done):
                one.step()


def _steps_done(trainer: Any, config: LRSchedulerConfig, kept: bool) -> int:
    own = getattr(config.scheduler, "last_epoch", 0) if kept else 0
    if kept and len(trainer.optimizers) > 1:  # which are stepped by hand
        return own
    done = trainer.current_epoch if config.interval == "epoch" else trainer.global_step
    return max(own, done // config.frequency)
