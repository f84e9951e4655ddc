"""The tutorial's "modify hyperparameters here": after a validation, while training goes on."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import nn

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.optim.schedulers import scale_lr

IN_OPTIMIZER = ("lr", "momentum", "weight_decay")
DROPOUTS = tuple(getattr(nn, name) for name in nn.modules.dropout.__all__)


class ChangeHyperparameters(Callback):
    """Changes hyperparameters after every validation; subclass and override `.change()`.

    Validate after every weight update with `--val_check_interval 1`. What is changed is printed,
    logged as `hparams/NAME`, and survives a resume.
    """

    def __init__(self) -> None:
        self.memory: dict[str, float] = {}
        """What `.change()` wants to remember between calls; saved in checkpoints."""
        self._kept: dict[str, float] = {}  # changes that are in no optimizer's state
        self._position: dict[str, Any] = {}  # of a checkpoint: where in its epoch the loader was

    def change(self, metrics: dict[str, float], hparams: dict[str, float]) -> dict[str, float]:
        """The hyperparameters to change and their new values; empty for none.

        Args:
            metrics: The newest value of every metric, such as `val/loss`.
            hparams: The current `lr`, `batch_size` and, where the optimizer or the net has them,
                `momentum`, `weight_decay` and `dropout` (a probability). A new batch size counts
                from the next epoch on.
        """
        raise NotImplementedError

    def on_validation_end(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.optimizers:
            return
        optimizer = trainer.optimizers[0]
        group = optimizer.param_groups[0]
        hparams = {key: group[key] for key in IN_OPTIMIZER if key in optimizer.defaults}
        if dropouts := _dropouts(pl_module):
            hparams["dropout"] = dropouts[0].p
        hparams["batch_size"] = trainer.datamodule.batch_size
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        changes = self.change(metrics, dict(hparams))
        for name, value in changes.items():
            if name not in hparams:
                raise UserError(
                    f"{type(self).__name__}.change() returned {name!r}; "
                    f"this run has {', '.join(hparams)}"
                )
            if name == "lr" and hparams[name] > 0:
                schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
                scale_lr(optimizer, schedulers, value / hparams[name])
            elif name in IN_OPTIMIZER:
                for group in optimizer.param_groups:
                    if name != "weight_decay" or "/no_decay" not in group.get("name", ""):
                        group[name] = value
            else:
                self._kept[name] = value
                self._apply_kept(trainer, pl_module)
                trainer.reload_dataloaders_every_n_epochs = 1
        if changes:
            text = ", ".join(f"{name} {hparams[name]:g} -> {changes[name]:g}" for name in changes)
            trainer.print(f"step {trainer.global_step}: {text}")
        for logger in trainer.loggers if changes else ():
            values = {f"hparams/{name}": value for name, value in changes.items()}
            logger.log_metrics(values, trainer.global_step)

    def _apply_kept(self, trainer: Any, module: nn.Module) -> None:
        for dropout in _dropouts(module):
            dropout.p = self._kept.get("dropout", dropout.p)
        data = trainer.datamodule
        data.batch_size = int(self._kept.get("batch_size", data.batch_size))

    def state_dict(self) -> dict[str, Any]:
        return {"memory": self.memory, "kept": self._kept}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Makes the earlier changes again, but for what the flags give anew."""
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None:
            return
        keys = ("hyper_parameters", "datamodule_hyper_parameters")
        then = _innermost({key: checkpoint.get(key, {}) for key in keys})
        now = _innermost({"model": pl_module.hparams, "data": trainer.datamodule.hparams})
        given = {name for name in now if name in then and then[name] != now[name]}
        self.memory = dict(state["memory"])
        self._kept = {name: value for name, value in state["kept"].items() if name not in given}
        self._position = checkpoint.get(type(trainer.datamodule).__qualname__, {})
        epoch = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        if epoch["processed"] == epoch["started"]:  # a new epoch, with the new batch size
            self._position = self._position | {"batch_size": None}

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Schedules are planned by now, for the batch size at the start; the loader is built anew.

        An epoch that was begun goes on with the batch size that it was begun with.
        """
        position, self._position = self._position, {}
        if position and "batch_size" in self._kept:
            data = trainer.datamodule
            data.batch_size = position["batch_size"] or int(self._kept["batch_size"])
            data.load_state_dict(position)
            trainer.reload_dataloaders_every_n_epochs = 1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._apply_kept(trainer, pl_module)


def _dropouts(module: nn.Module) -> list[Any]:
    return [part for part in module.modules() if isinstance(part, DROPOUTS)]


def _innermost(group: Mapping[str, Any]) -> dict[str, Any]:
    """The innermost names and values of nested hyperparameters."""
    values: dict[str, Any] = {}
    for name, value in group.items():
        values |= _innermost(value) if isinstance(value, Mapping) else {name: value}
    return values


class HalveWhenStuck(ChangeHyperparameters):
    """The worked example: halves lr when the validation loss has not fallen for some validations.

    Args:
        patience: Validations without a new lowest val/loss before lr is halved, at least 1.
    """

    def __init__(self, patience: int = 2) -> None:
        super().__init__()
        self.patience = patience

    def change(self, metrics: dict[str, float], hparams: dict[str, float]) -> dict[str, float]:
        loss, best = metrics["val/loss"], self.memory.get("best", float("inf"))
        waited = 0 if loss < best else self.memory.get("waited", 0) + 1
        halve = waited >= self.patience
        self.memory = {"best": min(best, loss), "waited": 0 if halve else waited}
        return {"lr": hparams["lr"] / 2} if halve else {}
