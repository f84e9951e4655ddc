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
HPARAMS = ("hyper_parameters", "datamodule_hyper_parameters")  # keys of a checkpoint
DROPOUTS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
)


class ChangeHyperparameters(Callback):
    """Changes hyperparameters after every validation; subclass and override `.change()`.

    Validate after every weight update with `--val_check_interval 1`. What is changed is printed,
    logged as `hparams/NAME`, and survives a resume.
    """

    def __init__(self) -> None:
        self.memory: dict[str, float] = {}
        """What `.change()` wants to remember between calls; saved in checkpoints."""
        self.lr_factor = 1.0
        """By what all changes so far have multiplied lr, and the rest of its schedule."""
        self._kept: dict[str, float] = {}  # changes that are in no optimizer's state
        self._reload_every = 0  # epochs, as the Trainer was told

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
        hparams = self._current()
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
            text = ", ".join(f"{name} {hparams[name]:g} -> {changes[name]:g}" for name in changes)
            self._trainer.print(f"step {trainer.global_step}: {text}")
            values = {f"hparams/{name}": value for name, value in changes.items()}
            for logger in trainer.loggers:
                logger.log_metrics(values, trainer.global_step)

    def _current(self) -> dict[str, float]:
        """The hyperparameters that can be changed, with their values of this moment."""
        optimizer: Optimizer = self._trainer.optimizers[0]
        group, known = optimizer.param_groups[0], optimizer.defaults
        values = {key: group[key] for key in IN_OPTIMIZER if key in known}
        if found := self._dropouts():
            values["dropout"] = found[0].p
        return {**values, "batch_size": self._trainer.datamodule.batch_size}

    def _dropouts(self) -> list[Any]:
        return [module for module in self._module.modules() if isinstance(module, DROPOUTS)]

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
        if "dropout" in self._kept:
            for module in self._dropouts():
                module.p = self._kept["dropout"]
        if "batch_size" in self._kept:
            self._trainer.datamodule.batch_size = int(self._kept["batch_size"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._reload_every = self._trainer.reload_dataloaders_every_n_epochs

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trainer.reload_dataloaders_every_n_epochs = self._reload_every

    def state_dict(self) -> dict[str, Any]:
        return {"memory": self.memory, "kept": self._kept, "lr_factor": self.lr_factor}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Makes the earlier changes again, but for what the flags give anew."""
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None:
            return
        then = _innermost([checkpoint.get(key, {}) for key in HPARAMS])
        now = _innermost([pl_module.hparams, self._trainer.datamodule.hparams])
        given = {name for name in now if name in then and then[name] != now[name]}
        self.memory = dict(state["memory"])
        self.lr_factor = 1.0 if "lr" in given else state["lr_factor"]
        self._kept = {name: value for name, value in state["kept"].items() if name not in given}
        self._apply_kept()


def _innermost(groups: list[Any]) -> dict[str, Any]:
    """The innermost names and values of nested hyperparameters."""
    values: dict[str, Any] = {}
    for name, value in [item for group in groups for item in group.items()]:
        values |= _innermost([value]) if isinstance(value, Mapping) else {name: value}
    return values


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
