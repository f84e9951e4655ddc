"""What is given anew to a continued fit wins over what its checkpoint restores: a three-way merge.

Optimizers, schedulers and callbacks are compared as built now and as they were built in the run
that wrote the checkpoint. What differs was given anew and stays as built now; all else is restored.
"""

import warnings
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BatchSizeFinder, Callback, Checkpoint, LearningRateFinder
from lightning.pytorch.utilities.types import LRSchedulerConfig

from lit_opt.engine.callbacks.ema import check_average
from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import plan_of
from lit_opt.engine.optim.schedulers import build_schedulers, scale_lr

FINDERS = (LearningRateFinder, BatchSizeFinder)
TOLD = ("lr", "lr_factors", "scheduler", "scheduler_interval", "warmup")
SWITCHES_OF_STATE = ("amsgrad", "centered", "momentum")  # each has a tensor of its own a weight
RATES = {"lr", "initial_lr", "max_lr", "min_lr"}
CYCLED = {"momentum", "betas", "base_momentum", "max_momentum"}
Built = dict[str, Any]  # what an optimizer, scheduler or callback was when it was built


class ChangedHyperparameters(Callback):
    """Merges what is given anew into the optimizers, schedulers and callbacks of a checkpoint.

    An optimizer or scheduler of another class starts afresh. A schedule is replayed up to the
    current step if it is another one now, which one that fits the run's length is in a run of
    another length; ReduceLROnPlateau keeps what it has seen. It serves any LightningModule.

    It must be the first callback: others may add param groups when a fit starts.
    """

    state_key = "NewHyperparametersWin"

    def __init__(self) -> None:
        self._now: dict[str, Any] = {}
        self._then: dict[str, Any] = {}
        self._checkpoint: dict[str, Any] = {}  # that is being restored

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        others = [c for c in trainer.callbacks if c is not self and not isinstance(c, Checkpoint)]
        states = {callback.state_key: callback.state_dict() for callback in others}
        self._now = {"callbacks": {key: _plain_values(state) for key, state in states.items()}}

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["callbacks"][self.state_key] = {**self._now, "frozen_now": _frozen(pl_module)}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if any(isinstance(callback, FINDERS) for callback in trainer.callbacks):
            return  # it restores its own; there is none in a continued fit
        check_average(trainer, checkpoint)
        self._checkpoint = checkpoint
        self._then = checkpoint["callbacks"].get(self.state_key, {})
        for key, then in self._then.get("callbacks", {}).items():
            if key in checkpoint["callbacks"].keys() & self._now["callbacks"].keys():
                now, states = self._now["callbacks"][key], checkpoint["callbacks"]
                states[key] = merged(then, now, states[key])

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """The optimizers are new here, and restored next."""
        self._now["frozen"] = _frozen(pl_module)
        self._now |= _as_built(trainer.optimizers, trainer.lr_scheduler_configs, pl_module)
        checkpoint = self._checkpoint
        if checkpoint and "optimizers" not in self._then:
            self._then |= _as_built_by_older(trainer, pl_module, checkpoint) or self._now
        if not checkpoint:
            return
        then, now = self._then, self._now
        states, checkpoint["optimizer_states"] = checkpoint["optimizer_states"], []
        if _classes(then["optimizers"]) == _classes(now["optimizers"]):
            for i, (a, b) in enumerate(zip(then["optimizers"], now["optimizers"], strict=True)):
                state = _merged_optimizer(states[i], a["groups"], b["groups"], self._moved(i))
                checkpoint["optimizer_states"].append(state)
        if _classes(then["schedulers"]) != _classes(now["schedulers"]):
            checkpoint["lr_schedulers"] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        checkpoint, self._checkpoint = self._checkpoint, {}
        if not checkpoint:
            if any(isinstance(callback, FINDERS) for callback in trainer.callbacks):
                trainer.strategy.setup_optimizers(trainer)  # by what was found
                self._now |= _as_built(trainer.optimizers, trainer.lr_scheduler_configs, pl_module)
            return
        self._freeze(pl_module)
        for i in range(len(trainer.optimizers)):
            if moved := self._moved(i):
                _replay(trainer, i, self._then, self._now, moved)
        if told := ", ".join(self._told(checkpoint.get("hyper_parameters", {}), pl_module.hparams)):
            trainer.print(f"continuing at step {trainer.global_step} with {told}")

    def _freeze(self, module: pl.LightningModule) -> None:
        """Freezes what was frozen at the checkpoint, and thaws what callbacks had thawed."""
        if "frozen" in self._then:
            then, now = (set(built["frozen"]) for built in (self._then, self._now))
            frozen = set(self._then["frozen_now"]) - (then - now) | (now - then)
            for name, p in module.named_parameters():
                p.requires_grad_(name not in frozen)

    def _moved(self, i: int) -> set[str]:
        """What the schedule moves in optimizer i's param groups; nothing if it is the same."""
        a, b = ([s for s in all_["schedulers"] if s["of"] == i] for all_ in (self._then, self._now))
        classes = [_classes(all_["optimizers"])[i : i + 1] for all_ in (self._then, self._now)]
        if str(a) == str(b) and (classes[0] == classes[1] or not b):
            return set()
        cycles = any("Cycl" in scheduler["class"] for scheduler in a + b)
        return RATES | CYCLED if cycles else RATES

    def _told(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
        """`lr 0.5 -> 0.05` for all that was given anew, in the order of the names."""
        pairs = {key: (old.get(key), new[key]) for key in TOLD if key in new}
        then, now = self._then, self._now
        if _classes(then["optimizers"]) != _classes(now["optimizers"]):
            pairs["optimizer"] = (old.get("optimizer"), new.get("optimizer"))
        for i, (a, b) in enumerate(zip(then["optimizers"], now["optimizers"], strict=False)):
            for was, is_ in zip(a["groups"], b["groups"], strict=False):
                keys = (was.keys() & is_.keys()) - self._moved(i) - {"params", "name", *pairs}
                pairs |= {k: (was[k], is_[k]) for k in keys if a["class"] == b["class"]}
        for name, state in then.get("callbacks", {}).items():
            later = now["callbacks"].get(name, {})
            owner = name.partition("{")[0]
            pairs |= {f"{owner}.{k}": (state[k], later[k]) for k in state.keys() & later.keys()}
        return [f"{k} {was} -> {is_}" for k, (was, is_) in sorted(pairs.items()) if was != is_]


def merged(then: Built, now: Built, restored: Mapping[str, Any]) -> Built:
    """`restored`, but for what is built otherwise now than then."""
    return {**restored, **{k: v for k, v in now.items() if k not in then or then[k] != v}}


def _plain_values(state: Mapping[str, Any]) -> Built:
    """What arguments are kept as, and no tensors."""
    return {k: v for k, v in state.items() if isinstance(v, int | float | str | None)}


def _classes(built: Iterable[Built]) -> list[str]:
    return [part["class"] for part in built]


def _as_built(
    optimizers: list[Any], configs: list[LRSchedulerConfig], module: pl.LightningModule
) -> Built:
    names = {p: name for name, p in module.named_parameters()}
    return {
        "optimizers": [
            {
                "class": _path_of(optimizer),
                "groups": [
                    {
                        **group,
                        "params": [names.get(p, f"{i}.{k}") for k, p in enumerate(group["params"])],
                    }
                    for i, group in enumerate(optimizer.param_groups)
                ],
            }
            for optimizer in optimizers
        ],
        "schedulers": [
            {
                "class": _path_of(config.scheduler),
                "of": _owner(config.scheduler, optimizers),
                "unit": [config.interval, config.frequency],
                "state": deepcopy(config.scheduler.state_dict()),
            }
            for config in configs
        ],
    }


def _frozen(module: pl.LightningModule) -> list[str]:
    return [name for name, p in module.named_parameters() if not p.requires_grad]


def _path_of(part: Any) -> str:
    return f"{type(part).__module__}.{type(part).__qualname__}"


def _owner(scheduler: Any, optimizers: list[Any]) -> int:
    of = [i for i, o in enumerate(optimizers) if o is getattr(scheduler, "optimizer", None)]
    return of[0] if of else 0


def _as_built_by_older(trainer: Any, module: Any, checkpoint: Mapping[str, Any]) -> Built | None:
    """The same of a checkpoint that has only a LitModule's hyperparameters and the planned steps."""
    state = checkpoint["callbacks"].get(ChangedHyperparameters.state_key, {})
    if "plan" not in state or not hasattr(module, "optimizers_for"):
        return None
    hp, plan = checkpoint["hyper_parameters"], plan_of(trainer)
    if state["plan"] != plan.total_steps:
        plan = plan._replace(total_steps=state["plan"], max_epochs=plan.max_epochs + 1)
    optimizer = build_optimizer(hp["optimizer"], module, hp["lr"], plan.may_fuse)
    modes = [getattr(config.scheduler, "mode", "min") for config in trainer.lr_scheduler_configs]
    entries = build_schedulers(
        hp["scheduler"], optimizer, plan, hp["warmup"], hp["scheduler_interval"],
        mode=[*modes, "min"][0],
    )  # fmt: skip
    return _as_built([optimizer], [LRSchedulerConfig(**entry) for entry in entries], module)


def _merged_optimizer(
    state: dict[str, Any], then: list[Built], now: list[Built], moved: set[str]
) -> dict[str, Any]:
    """An optimizer's state for the groups as they are built now; added groups come after them."""
    places = {name: i for i, name in enumerate(n for group in then for n in group["params"])}
    home = {name: j for j, group in enumerate(then) for name in group["params"]}
    switched = [
        b
        for a, b in zip(then, now, strict=False)
        for k in SWITCHES_OF_STATE
        if bool(a.get(k)) != bool(b.get(k))
    ]
    groups: list[Built] = []
    order: list[int | None] = []  # the place in the checkpoint of every parameter
    for j, built in enumerate(now):
        j = home.get(built["params"][0], len(then)) if built["params"] else j
        was, restored = ({}, {}) if j >= len(then) else (then[j], state["param_groups"][j])
        options = {k: v for k, v in built.items() if k not in moved or k not in restored}
        order += [places.get(name) for name in built["params"]]
        groups.append({**merged(was, options, restored), "params": built["params"]})
    ratio = _base(now[0]) / (_base(then[0]) or 1.0)
    for group in state["param_groups"][len(then) :]:
        groups.append({k: v * ratio if k in RATES else v for k, v in group.items()})
        order += group["params"]
    ids = iter(range(len(order)))
    for group in groups:
        group["params"] = [next(ids) for _ in group["params"]]
    kept = {i: state["state"][old] for i, old in enumerate(order) if old in state["state"]}
    return {**state, "state": {} if switched else kept, "param_groups": groups}


def _base(group: Built) -> float:
    """The lr that a param group was given, from which its schedule is made."""
    return group.get("max_lr") or group.get("initial_lr", group.get("lr", 1.0))


def _replay(trainer: Any, i: int, then: Built, now: Built, moved: set[str]) -> None:
    """Steps the schedulers of optimizer i, as built now, up to the current step."""
    optimizer = trainer.optimizers[i]
    was, is_ = (
        [] if i >= len(b["optimizers"]) else b["optimizers"][i]["groups"] for b in (then, now)
    )
    whole = optimizer.param_groups
    optimizer.param_groups = whole[: len(is_)]  # added groups are of the callback that added them
    before = [dict(group) for group in optimizer.param_groups]
    kept = _classes(then["schedulers"]) == _classes(now["schedulers"])
    plateaus, others = [], []
    for k, config in enumerate(trainer.lr_scheduler_configs):
        if now["schedulers"][k]["of"] == i:
            (plateaus if config.reduce_on_plateau else others).append((k, config))
    steps = [_steps_done(trainer, config, kept) for _, config in others]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # schedulers without optimizer steps
        factors = [1.0] * len(before)
        if plateaus and kept and _base(was[0]) == _base(is_[0]):
            _run(optimizer, was, then, others, steps, moved)
            pairs = zip(before, optimizer.param_groups, strict=True)
            factors = [b["lr"] / g["lr"] if g["lr"] else 1.0 for b, g in pairs]
        _run(optimizer, is_, now, others, steps, moved)
    for group, factor in zip(optimizer.param_groups, factors, strict=True):
        group["lr"] *= factor
    for k, config in plateaus if kept else []:
        a, b = then["schedulers"][k]["state"], now["schedulers"][k]["state"]
        config.scheduler.load_state_dict(merged(a, b, config.scheduler.state_dict()))
    if was and not plateaus and _base(was[0]) == _base(is_[0]):
        key = "initial_lr" if "initial_lr" in was[0] else "lr"  # a callback's change of it outlives
        factor = before[0].get(key, was[0][key]) / (was[0][key] or 1.0)
        scale_lr(optimizer, [config.scheduler for _, config in others], factor)
    optimizer.param_groups = whole


def _run(
    optimizer: Any,
    groups: list[Built],
    built: Built,
    configs: list[Any],
    steps: list[int],
    moved: set[str],
) -> None:
    for group, as_built in zip(optimizer.param_groups, groups, strict=True):
        group.update({key: as_built[key] for key in moved & as_built.keys()})
    for (k, config), count in zip(configs, steps, strict=True):
        config.scheduler.load_state_dict(deepcopy(built["schedulers"][k]["state"]))
        for _ in range(count):
            config.scheduler.step()


def _steps_done(trainer: Any, config: LRSchedulerConfig, kept: bool) -> int:
    own = getattr(config.scheduler, "last_epoch", 0) if kept else 0
    if kept and len(trainer.optimizers) > 1:  # by hand
        return own
    done = trainer.current_epoch if config.interval == "epoch" else trainer.global_step
    return max(own, done // config.frequency)


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`data.batch_size 64 -> 128` for every value that both have and that differs."""
    found: list[str] = []
    for key in old.keys() & new.keys():
        before, after = (list(v) if isinstance(v, tuple) else v for v in (old[key], new[key]))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += changes(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key} {before} -> {after}")
    return sorted(found)
