"""Hyperparameters given anew win over those in the checkpoint that a fit continues from."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer

from lit_opt.optim import scale_lr

HORIZON = ("total_steps", "T_max", "T_0", "T_i", "total_iters", "_schedule_phases", "_milestones")


class NewHyperparametersWin(Callback):
    """Lays the differences between this run and the checkpoint over the restored optimizer.

    Torch restores lr, momentum and weight decay from the checkpoint, and a scheduler its horizon,
    whatever the flags say.
    """

    def __init__(self) -> None:
        self._old: dict[str, Any] | None = None

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        old, new = checkpoint.get("hyper_parameters", {}), pl_module.hparams
        self._old = old
        if _name(old.get("optimizer")) != _name(new["optimizer"]):
            checkpoint["optimizer_states"] = []
        if _name(old.get("scheduler")) != _name(new["scheduler"]) or old["warmup"] != new["warmup"]:
            checkpoint["lr_schedulers"] = []
        for state in checkpoint.get("lr_schedulers", []):
            _drop_horizon(state)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._old is None:
            return
        old, new = self._old, pl_module.hparams
        optimizer = trainer.optimizers[0]
        changes = {}
        for name in dict.fromkeys([*_arguments(old), *_arguments(new)]):
            default = optimizer.defaults.get(name)
            before, after = (_arguments(hp).get(name, default) for hp in (old, new))
            if before != after:
                changes[name] = (before, after)
        if _name(old["optimizer"]) == _name(new["optimizer"]):
            _apply(changes, optimizer, [c.scheduler for c in trainer.lr_scheduler_configs])
        if changes:
            text = ", ".join(f"{k} {before} -> {after}" for k, (before, after) in changes.items())
            trainer.print(f"continuing at step {trainer.global_step} with {text}")
        self._old = None


def _apply(
    changes: dict[str, tuple[Any, Any]], optimizer: Optimizer, schedulers: list[Any]
) -> None:
    for name, (before, after) in changes.items():
        if name == "lr":
            scale_lr(optimizer, schedulers, after / before)
        else:
            for group in optimizer.param_groups:
                group[name] = after


def _name(spec: Any) -> str | None:
    return spec.get("name") if isinstance(spec, Mapping) else spec


def _arguments(hparams: Mapping[str, Any]) -> dict[str, Any]:
    spec = hparams["optimizer"]
    return {"lr": hparams["lr"], **({"name": spec} if isinstance(spec, str) else spec)}


def _drop_horizon(state: dict[str, Any]) -> None:
    """What is not in the restored state stays as this run plans it."""
    for key in HORIZON:
        state.pop(key, None)
    for nested in state.get("_schedulers", []):
        _drop_horizon(nested)
