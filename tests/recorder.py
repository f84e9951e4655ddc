"""What tests of examples ask of a run: its losses, a death at a step, its last weights."""

import copy

import lightning.pytorch as pl
import torch


class Recorder(pl.Callback):
    """Keeps the initial net and every loss; dies at a step, as a kill does: nothing is saved."""

    def __init__(self, dies_at: int = 0) -> None:
        self.dies_at, self.losses = dies_at, []

    def on_fit_start(self, trainer, pl_module):
        self.initial = copy.deepcopy(pl_module.net)

    def on_train_batch_end(self, trainer, pl_module, outputs, *args):
        self.losses.append(outputs["loss"].item())
        if trainer.global_step == self.dies_at:
            raise KeyError("killed")


def weights(run: str) -> str:
    """Equal for equal weights."""
    checkpoint = torch.load(f"runs/{run}/checkpoints/last.ckpt", weights_only=True)
    return str([(name, w.tolist()) for name, w in checkpoint["state_dict"].items()])
