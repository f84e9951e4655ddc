"""What tests ask of a run: a death at a step, its losses, its last weights."""

import copy

import lightning.pytorch as pl
import torch


class Kill(pl.Callback):
    """Ends a run at a step as a kill does: nothing is saved any more. At 0 it lives."""

    def __init__(self, dies_at: int = 0) -> None:
        self.dies_at = dies_at

    def on_train_batch_end(self, trainer, *args):
        if self.dies_at and trainer.global_step >= self.dies_at:
            raise KeyError("killed")


class Recorder(Kill):
    """Keeps the initial net and every loss."""

    def __init__(self, dies_at: int = 0) -> None:
        super().__init__(dies_at)
        self.losses = []

    def on_fit_start(self, trainer, pl_module):
        self.initial = copy.deepcopy(pl_module.net)

    def on_train_batch_end(self, trainer, pl_module, outputs, *args):
        self.losses.append(outputs["loss"].item())
        super().on_train_batch_end(trainer)


def weights(run: str) -> str:
    """Equal for equal weights."""
    checkpoint = torch.load(f"runs/{run}/checkpoints/last.ckpt", weights_only=True)
    return str([(name, w.tolist()) for name, w in checkpoint["state_dict"].items()])
