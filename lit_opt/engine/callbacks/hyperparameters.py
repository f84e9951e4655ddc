"""The tutorial's "modify hyperparameters here": after a validation, while training goes on."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.optim import Optimizer

from lit_opt.engine.errors import UserError
from lit_opt.engine.optim.schedulers import scale_lr

IN_OPTIMIZER = ("lr", "momentum", "weight_decay")


class ChangeHyperparameters(Callback):
    """Changes hyperparameters after every validation; subclass and override `.change()`.

    Validate after every weight update with `--val_check_interval 1`. What is changed is printed,
    logged as `hparams/NAME`, and survives a resume.
    """

    def __init__(self) -> None:
        self.memory: dict[str, float] = {}
        """What `.change()` wants to remember between calls; saved in checkpoints."""
        self.lr_factor = 1.0
        self._kept: dict[str, float] = {}
        self._given_anew: set[str] = set()
        self._reload_every = 0

    def change(self, metrics: dict[str, float], hparams: dict[str, float]) -> dict[str, float]:
        """The hyperparameters to change and their new values; empty for none.

        Args:
            metrics: The newest value of every metric, such as `val/loss`.
            hparams: The current `lr`, `batch_size` and, where the optimizer or the net has them,
                `momentum`, `weight_decay` and `dropout` (a probability). A new batch size counts
                from the next epoch on.
        """
        raise NotImplementedError

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._trainer: Any = trainer
        self._module = pl_module

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.optimizers == []:
            return
        hparams = current(trainer, pl_module)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        changes = self.change(metrics, dict(hparams))
        for name, value in changes.items():
            if name not in hparams:
                raise UserError(
                    f"{type(self).__name__}.change() returned {name!r}; "
                    f"this run has {', '.join(hparams)}"
                )
            self._apply(name, value, hparams[name])
        if changes:
            self._report({name: (hparams[name], value) for name, value in changes.items()})

    def _apply(self, name: str, new: float, old: float) -> None:
        if name == "lr" and old > 0:
            schedulers = [config.scheduler for config in self._trainer.lr_scheduler_configs]
            scale_lr(self._trainer.optimizers[0], schedulers, new / old)
            self.lr_factor *= new / old
        elif name in IN_OPTIMIZER:
            for group in self._trainer.optimizers[0].param_groups:
                group[name] = new
        else:
            self._kept[name] = new
            self._apply_kept()
            self._trainer.reload_dataloaders_every_n_epochs = 1

    def _apply_kept(self) -> None:
        """What no optimizer state brings back after a resume."""
        if "dropout" in self._kept:
            for module in dropouts(self._module):
                module.p = self._kept["dropout"]
        if "batch_size" in self._kept:
            self._trainer.datamodule.batch_size = int(self._kept["batch_size"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trainer.reload_dataloaders_every_n_epochs = self._reload_every

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._reload_every = self._trainer.reload_dataloaders_every_n_epochs

    def _report(self, changes: dict[str, tuple[float, float]]) -> None:
        text = ", ".join(f"{name} {old:g} -> {new:g}" for name, (old, new) in changes.items())
        self._trainer.print(f"step {self._trainer.global_step}: {text}")
        for logger in self._trainer.loggers:
            values = {f"hparams/{name}": new for name, (_, new) in changes.items()}
            logger.log_metrics(values, self._trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"memory": self.memory, "kept": self._kept, "lr_factor": self.lr_factor}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """What the flags give anew is not changed back."""
        pairs = (
            ("hyper_parameters", pl_module.hparams),
            ("datamodule_hyper_parameters", self._trainer.datamodule.hparams),
        )
        for key, new in pairs:
            then, now = _flat(checkpoint.get(key, {})), _flat(new)
            self._given_anew |= {n for n in now if n in then and then[n] != now[n]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.memory, self.lr_factor = dict(state_dict["memory"]), state_dict["lr_factor"]
        if "lr" in self._given_anew:
            self.lr_factor = 1.0
        kept = state_dict["kept"].items()
        self._kept = {name: value for name, value in kept if name not in self._given_anew}
        self._apply_kept()


def _flat(values: Any) -> dict[str, Any]:
    """The innermost names and values of nested hyperparameters."""
    flat: dict[str, Any] = {}
    for name, value in dict(values).items():
        flat |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return flat


def current(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, float]:
    """The hyperparameters that can be changed, with their values of this moment."""
    optimizer: Optimizer = trainer.optimizers[0]
    values = {
        key: optimizer.param_groups[0][key] for key in IN_OPTIMIZER if key in optimizer.defaults
    }
    if found := dropouts(module):
        values["dropout"] = found[0].p
    return {**values, "batch_size": trainer.datamodule.batch_size}  # type: ignore[attr-defined]


def dropouts(module: nn.Module) -> list[Any]:
    return [m for m in module.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]


class HalveWhenStuck(ChangeHyperparameters):
    """The worked example: halves lr when the validation loss has not fallen for some validations.

    Args:
        patience: Validations without a new lowest val/loss before lr is halved.
    """

    def __init__(self, patience: int = 2) -> None:
        super().__init__()
        self.patience = patience

    def change(self, metrics: dict[str, float], hparams: dict[str, float]) -> dict[str, float]:
        loss = metrics["val/loss"]
        if loss < self.memory.get("best", float("inf")):
            self.memory = {"best": loss, "waited": 0}
            return {}
        self.memory["waited"] = self.memory.get("waited", 0) + 1
        if self.memory["waited"] < self.patience:
            return {}
        self.memory["waited"] = 0
        return {"lr": hparams["lr"] / 2}
