"""Hyperparameters given anew win over those in the checkpoint that a fit continues from."""

import warnings
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from lit_opt.engine.callbacks.ema import check_average
from lit_opt.engine.optim.by_name import parse
from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import plan_of
from lit_opt.engine.optim.schedulers import scale_lr

BASES = {"optimizer": Optimizer, "scheduler": LRScheduler}
OF_SCHEDULE = {"lr", "scheduler", "scheduler_interval", "warmup"}
RATES = {"lr", "initial_lr", "max_lr", "min_lr"}
CYCLED = {"momentum", "betas", "base_momentum", "max_momentum"}


class ChangedHyperparameters(Callback):
    """Sets what has changed since the checkpoint in the restored optimizer and scheduler.

    Torch restores lr, momentum and weight decay from a checkpoint, and a scheduler its horizon,
    whatever the flags say. An optimizer or scheduler of another class starts afresh. A schedule
    that has changed, or whose number of planned steps has, is replayed up to the current step.

    The module has `optimizers_for` and LitModule's hyperparameters; any other is left alone.
    """

    state_key = "NewHyperparametersWin"
    _old: Mapping[str, Any] = {}  # hyperparameters of the checkpoint
    _old_plan: float | None = None  # optimizer steps in all
    _plan: float = 0

    def state_dict(self) -> dict[str, Any]:
        return {"plan": self._plan}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._old_plan = state_dict["plan"]

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if not trainer.ckpt_path:  # the learning-rate finder restores its own
            return
        check_average(trainer, checkpoint)
        if not hasattr(pl_module, "optimizers_for"):
            return
        self._old, new = checkpoint["hyper_parameters"], pl_module.hparams
        if _class(self._old, "optimizer") is not _class(new, "optimizer"):
            checkpoint["optimizer_states"] = []
        kinds = [(_class(hp, "scheduler"), bool(hp["warmup"])) for hp in (self._old, new)]
        if kinds[0] != kinds[1]:
            checkpoint["lr_schedulers"] = []

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Before a callback's other batch size, with which the run was not planned, is back."""
        self._plan = plan_of(trainer).total_steps

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        old, self._old = self._old, {}
        if not old:
            return
        new = pl_module.hparams
        changes = {key: (old[key], new[key]) for key in OF_SCHEDULE if old[key] != new[key]}
        changes |= _changed_arguments(old, new, pl_module)
        for group in trainer.optimizers[0].param_groups:
            group.update({k: after for k, (_, after) in changes.items() if k in group})
        longer = self._plan != self._old_plan and (new["scheduler"] or new["warmup"])
        if longer or changes.keys() & OF_SCHEDULE:
            cycles = {_class(hp, "scheduler") for hp in (old, new)} & {OneCycleLR, CyclicLR}
            _replay_schedule(trainer, pl_module, RATES | CYCLED if cycles else RATES)
            if "lr" not in changes:  # a change by `ChangeHyperparameters` outlives a new schedule
                schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
                for callback in trainer.callbacks:
                    factor = getattr(callback, "lr_factor", 1.0)
                    scale_lr(trainer.optimizers[0], schedulers, factor)
        if changes:
            told = [f"{k} {before} -> {after}" for k, (before, after) in sorted(changes.items())]
            trainer.print(f"continuing at step {trainer.global_step} with {', '.join(told)}")


def _class(hparams: Mapping[str, Any], kind: str) -> type | None:
    return parse(hparams[kind], kind, BASES[kind])[0] if hparams[kind] else None


def _changed_arguments(
    old: Mapping[str, Any], new: Mapping[str, Any], module: pl.LightningModule
) -> dict[str, tuple[Any, Any]]:
    """What the optimizer's param groups have as built then and as built now, defaults included."""
    if _class(old, "optimizer") is not _class(new, "optimizer"):
        return {"optimizer": (old["optimizer"], new["optimizer"])}
    then, now = (build_optimizer(hp["optimizer"], module, 1.0).param_groups for hp in (old, new))
    return {
        key: (a[key], b[key])
        for a, b in zip(then, now, strict=True)
        for key in b
        if key != "params" and a[key] != b[key]
    }


def _replay_schedule(trainer: Any, module: Any, keys: set[str]) -> None:
    """Steps new schedulers on a new optimizer up to the current step, then takes their state over.

    Of the param groups it takes over `keys`, which are those that schedulers move.
    """
    [copy], configs = module.optimizers_for(plan_of(trainer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # schedulers without optimizer steps
        for config in configs:
            done = trainer.global_step if config["interval"] == "step" else trainer.current_epoch
            if not isinstance(config["scheduler"], ReduceLROnPlateau):  # its metrics are not kept
                for _ in range(done):
                    config["scheduler"].step()
    for config, replayed in zip(trainer.lr_scheduler_configs, configs, strict=True):
        config.scheduler.load_state_dict(replayed["scheduler"].state_dict())
    groups = zip(copy.param_groups, trainer.optimizers[0].param_groups, strict=True)
    for from_group, to_group in groups:
        to_group.update({key: from_group[key] for key in keys & from_group.keys()})


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
