"""What is given anew to a continued fit wins over what its checkpoint restores: a three-way merge.

Optimizers, schedulers, callbacks and frozen parameters are compared as built now and as they were
built in the run that wrote the checkpoint. What differs was given anew; all else is restored.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BatchSizeFinder, Callback, Checkpoint, LearningRateFinder

from lit_opt.engine.callbacks.ema import check_average
from lit_opt.engine.optim.optimizers import KERNELS
from lit_opt.engine.runs.resume.as_built import (
    Built,
    as_built,
    as_built_by_older,
    classes,
    merged,
    merged_optimizer,
    moved_keys,
)
from lit_opt.engine.runs.resume.replay_schedule import replay

FINDERS = (LearningRateFinder, BatchSizeFinder)
TOLD = ("lr", "lr_factors", "scheduler", "scheduler_interval", "warmup")
NONE: Built = {"class": "", "groups": [], "schedulers": []}


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

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if any(isinstance(callback, FINDERS) for callback in trainer.callbacks):
            return  # it restores its own; there is none in a continued fit
        check_average(trainer, checkpoint)
        states, self._checkpoint = checkpoint["callbacks"], checkpoint
        self._then = dict(states.get(self.state_key, {}))
        for key, then in self._then.get("callbacks", {}).items():
            if key in states.keys() & self._now["callbacks"].keys():
                states[key] = merged(then, self._now["callbacks"][key], states[key])

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """The optimizers are new here, and restored next."""
        self._look_at(trainer, pl_module)
        if not (checkpoint := self._checkpoint):
            return
        if "optimizers" not in self._then:
            ours = "plan" in self._then and hasattr(pl_module, "optimizers_for")
            self._then["optimizers"] = (
                as_built_by_older(trainer, pl_module, checkpoint, self._then["plan"])
                if ours
                else self._now["optimizers"]
            )
        then, now = self._then["optimizers"], self._now["optimizers"]
        states, checkpoint["optimizer_states"] = checkpoint["optimizer_states"], []
        if classes(then) == classes(now):
            merges = map(merged_optimizer, states, then, now)
            checkpoint["optimizer_states"] = list(merges)
        schedulers = ([classes(b["schedulers"]) for b in built] for built in (then, now))
        if next(schedulers) != next(schedulers):
            checkpoint["lr_schedulers"] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        checkpoint, self._checkpoint = self._checkpoint, {}
        if checkpoint:
            self._freeze(pl_module)
            for optimizer, (then, now) in zip(trainer.optimizers, self._pairs(), strict=True):
                if moved_keys(then, now):
                    replay(trainer, optimizer, then, now)
            told = self._told(checkpoint.get("hyper_parameters", {}), pl_module.hparams)
            if told:
                trainer.print(f"continuing at step {trainer.global_step} with {', '.join(told)}")
        elif any(isinstance(callback, FINDERS) for callback in trainer.callbacks):
            trainer.strategy.setup_optimizers(trainer)  # by what was found
            self._look_at(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["callbacks"][self.state_key] = {**self._now, "frozen_now": _frozen(pl_module)}

    def _look_at(self, trainer: Any, module: pl.LightningModule) -> None:
        built = as_built(trainer.optimizers, trainer.lr_scheduler_configs, module)
        self._now |= {"optimizers": built, "frozen": _frozen(module)}

    def _pairs(self) -> Iterator[tuple[Built, Built]]:
        """Every optimizer as it was built then and now."""
        then, now = self._then["optimizers"], self._now["optimizers"]
        return zip([*then, *[NONE] * len(now)][: len(now)], now, strict=True)

    def _freeze(self, module: pl.LightningModule) -> None:
        """Freezes what was frozen at the checkpoint, and thaws what callbacks had thawed."""
        if "frozen" in self._then:
            then, now = (set(built["frozen"]) for built in (self._then, self._now))
            frozen = set(self._then["frozen_now"]) - (then - now) | (now - then)
            for name, p in module.named_parameters():
                p.requires_grad_(name not in frozen)

    def _told(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
        """`lr 0.5 -> 0.05` for all that was given anew, in the order of the names."""
        pairs = {key: (old.get(key), new[key]) for key in TOLD if key in new}
        for then, now in self._pairs():
            if then["class"] != now["class"]:
                pairs["optimizer"] = (old.get("optimizer"), new.get("optimizer"))
                continue
            for a, b in zip(then["groups"], now["groups"], strict=False):
                left = moved_keys(then, now) | KERNELS | {"params", "name", *pairs}
                keys = a.keys() & b.keys() - left
                pairs |= {key: (a[key], b[key]) for key in keys if a[key] != b[key]}
        for name, state in self._then.get("callbacks", {}).items():
            later, owner = self._now["callbacks"].get(name, {}), name.partition("{")[0]
            pairs |= {f"{owner}.{k}": (state[k], later[k]) for k in state.keys() & later.keys()}
        changed = sorted((key, *pair) for key, pair in pairs.items() if pair[0] != pair[1])
        return [f"{key} {before} -> {after}" for key, before, after in changed]


def _plain_values(state: Mapping[str, Any]) -> Built:
    """What arguments are kept as, and no tensors."""
    return {k: v for k, v in state.items() if v is None or isinstance(v, int | float | str)}


def _frozen(module: pl.LightningModule) -> list[str]:
    return [name for name, p in module.named_parameters() if not p.requires_grad]


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
