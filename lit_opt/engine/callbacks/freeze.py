"""Training begins with a part of the net that stays as it is, such as a pretrained backbone."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import nn

from lit_opt.engine.base.errors import UserError


class Freeze(Callback):
    """For the first epochs a part's weights, batch norm statistics and dropout stand still.

    Afterwards it trains with the rest, at the same learning rate or, with --lr_factors, at its own.
    What is frozen follows from the epoch alone, so a resumed run needs no state. On several
    processes set --strategy ddp_find_unused_parameters_true.

    Args:
        epochs: How many; -1 for all.
        part: Its name in the model, such as net or net.features.
        but: What trains nevertheless, such as [net.fc].
    """

    def __init__(self, epochs: int, part: str = "net", but: list[str] | None = None) -> None:
        self.epochs, self.part, self.but = epochs, part, but or []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        names = [name for name, _ in pl_module.named_modules() if name]
        for part in (self.part, *self.but):
            if part not in names:
                raise UserError(
                    f"Freeze: the model has no part {part!r};\n"
                    f"it has {', '.join(name for name in names if name.count('.') < 2)[:200]}"
                )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._set(pl_module, trainer.current_epoch)  # a resume inside an epoch begins here

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._set(pl_module, trainer.current_epoch)

    def on_train_end(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        for module in self._frozen(pl_module):
            self._switch(module, True)

    def _set(self, model: nn.Module, epoch: int) -> None:
        """The optimizer has all parameters by now; it skips those without a gradient."""
        trains = 0 <= self.epochs <= epoch
        for module in self._frozen(model):
            if not trains or epoch == self.epochs:
                self._switch(module, trains)

    def _frozen(self, model: nn.Module) -> Iterator[nn.Module]:
        """The modules of the part, one by one, without those in `but`."""
        for name, module in model.named_modules():
            inside = f"{name}.".startswith(f"{self.part}.")
            if inside and not any(f"{name}.".startswith(f"{part}.") for part in self.but):
                yield module

    @staticmethod
    def _switch(module: nn.Module, trains: bool) -> None:
        module.training = trains
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(trains)
            if not trains:
                parameter.grad = None
