"""Hyperparameters given anew win over those in the checkpoint that a fit continues from."""

import warnings
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from lit_opt.engine.callbacks.ema import continue_without
from lit_opt.engine.optim.by_name import parse
from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import plan_of
from lit_opt.engine.optim.schedulers import scale_lr

BASES = {"optimizer": Optimizer, "scheduler": LRScheduler}
SCHEDULE = ("lr", "scheduler", "scheduler_interval", "warmup")
RATES = ("lr", "initial_lr", "max_lr", "min_lr")
CYCLED = ("momentum", "betas", "base_momentum", "max_momentum")


class NewHyperparametersWin(Callback):
    """Lays what has changed since the checkpoint over the restored optimizer and scheduler.

    Torch restores lr, momentum and weight decay from a checkpoint, and a scheduler its horizon,
    whatever the flags say. A changed schedule is built anew and brought to the current step.
    """

    def __init__(self) -> None:
        self._old: Mapping[str, Any] | None = None
        self._old_plan: float | None = None
        self._plan: float = 0

    def state_dict(self) -> dict[str, Any]:
        return {"plan": self._plan}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._old_plan = state_dict["plan"]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not trainer.ckpt_path:  # the learning-rate finder restores its own
            return
        continue_without(trainer, pl_module, checkpoint)
        self._old = checkpoint["hyper_parameters"]
        if _class(self._old, "optimizer") is not _class(pl_module.hparams, "optimizer"):
            checkpoint["optimizer_states"] = []
        if _class(self._old, "scheduler") is not _class(pl_module.hparams, "scheduler"):
            checkpoint["lr_schedulers"] = []
        if bool(self._old["warmup"]) != bool(pl_module.hparams["warmup"]):
            checkpoint["lr_schedulers"] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._plan = plan_of(trainer).total_steps
        old, new = self._old, pl_module.hparams
        if old is None:
            return
        self._old = None
        changes = {key: (old[key], new[key]) for key in SCHEDULE if old[key] != new[key]}
        changes |= _argument_changes(old, new, pl_module)
        longer = self._plan != self._old_plan and (new["scheduler"] or new["warmup"])
        for group in trainer.optimizers[0].param_groups:
            group.update({k: after for k, (_, after) in changes.items() if k in group})
        if longer or changes.keys() & set(SCHEDULE):
            _reschedule(trainer, pl_module, old)
            if "lr" not in changes:
                _keep_changed_lr(trainer)
        if changes:
            text = ", ".join(f"{k} {before} -> {after}" for k, (before, after) in changes.items())
            trainer.print(f"continuing at step {trainer.global_step} with {text}")


def _class(hparams: Mapping[str, Any], kind: str) -> type | None:
    return parse(hparams[kind], kind, BASES[kind])[0] if hparams[kind] else None


def _argument_changes(
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


def _reschedule(trainer: Any, module: Any, old: Mapping[str, Any]) -> None:
    """Brings the schedule as planned now to the current step, on a copy of the optimizer."""
    optimizers, configs = module.optimizers_for(plan_of(trainer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # schedulers without optimizer steps
        for config in configs:
            done = trainer.global_step if config["interval"] == "step" else trainer.current_epoch
            for _ in range(0 if _is_plateau(config["scheduler"]) else done):
                config["scheduler"].step()
    for config, copy in zip(trainer.lr_scheduler_configs, configs, strict=True):
        config.scheduler.load_state_dict(copy["scheduler"].state_dict())
    cycles = {_class(hparams, "scheduler") for hparams in (old, module.hparams)}
    keys = RATES + (CYCLED if cycles & {OneCycleLR, CyclicLR} else ())
    _copy(optimizers[0], trainer.optimizers[0], keys)


def _is_plateau(scheduler: Any) -> bool:
    return isinstance(scheduler, ReduceLROnPlateau)  # follows metrics, which are not kept


def _copy(source: Optimizer, target: Optimizer, keys: tuple[str, ...]) -> None:
    for from_group, to_group in zip(source.param_groups, target.param_groups, strict=True):
        to_group.update({key: from_group[key] for key in keys if key in from_group})


def _keep_changed_lr(trainer: Any) -> None:
    """A change of lr by `ChangeHyperparameters` outlives a new schedule, unless --lr is new."""
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    for callback in trainer.callbacks:
        scale_lr(trainer.optimizers[0], schedulers, getattr(callback, "lr_factor", 1.0))
