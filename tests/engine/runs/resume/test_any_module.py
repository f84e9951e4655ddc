"""What resumes a run asks nothing of a LightningModule."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lit_opt.engine.callbacks import EMA
from lit_opt.engine.runs.checkpoint_file import checkpoints
from lit_opt.engine.runs.resume.changed_hyperparameters import ChangedHyperparameters
from lit_opt.engine.runs.resume.signals import StopOnSignal
from lit_opt.engine.runs.resume.training_state import PlateauBeforeCheckpoint, RunningScores


class Regression(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch):
        return nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def validation_step(self, batch):
        self.log("val_loss", self.training_step(batch))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 0.1)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.9)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"},
        }


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*treespec")
def test_a_continued_fit_ends_as_the_uninterrupted_one(quiet_trainer):
    def fit(folder: str, epochs: int, ckpt_path: str | None = None) -> dict[str, torch.Tensor]:
        resuming = [ChangedHyperparameters(), RunningScores(), PlateauBeforeCheckpoint()]
        callbacks = [EMA(0.9), *resuming, *checkpoints(Path(folder), "val_loss"), StopOnSignal()]
        trainer = quiet_trainer(max_epochs=epochs, callbacks=callbacks, enable_checkpointing=True)
        torch.manual_seed(0)
        data = DataLoader(TensorDataset(torch.randn(8, 3), torch.randn(8, 1)), batch_size=4)
        trainer.fit(Regression(), data, data, ckpt_path=ckpt_path, weights_only=True)
        return torch.load(f"{folder}/last.ckpt", weights_only=True)

    whole = fit("whole", 4)
    fit("kept", 2)
    continued = fit("continued", 4, "kept/last.ckpt")
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert str(continued[part]) == str(whole[part])
    best = [continued["callbacks"]["BestCheckpoint"], whole["callbacks"]["BestCheckpoint"]]
    assert best[0]["best_model_score"] == best[1]["best_model_score"]
