"""Batch norm can't train on one sample: found before the training, not at the end of its epoch."""

from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from lit_opt.engine.base.errors import UserError


class NoBatchOfOne(Callback):
    """Raises `UserError` if an epoch has a batch of one sample and the net can't train on it."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        loader, shape = trainer.train_dataloader, getattr(trainer.datamodule, "in_shape", None)
        net, size = getattr(pl_module, "net", None), getattr(loader, "batch_size", None)
        if not size or shape is None or net is None:
            return
        last = len(loader.sampler) % size == 1 and trainer.num_training_batches == len(loader)
        if (last or size == 1) and not _trains_on_one(net, torch.zeros(1, *shape)):
            raise UserError(
                f"{'the last' if last else 'a'} batch of an epoch has one sample, on which batch "
                f"norm can't train\nset {'--drop_last true, or ' * last}another --batch_size"
            )


def _trains_on_one(net: nn.Module, x: torch.Tensor) -> bool:
    """Whether a copy of `net` takes x (1, …) in training."""
    weight = next(net.parameters(), x)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            deepcopy(net).train()(x.to(weight.device, weight.dtype))
    except ValueError as error:
        return "more than 1 value per channel" not in str(error)
    except Exception:  # told when it is trained
        return True
    return True
