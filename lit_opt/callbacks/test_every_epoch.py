"""The tutorial tests after every epoch: for curves only, nothing is selected by it."""

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback


class TestEveryEpoch(Callback):
    """Logs `test/…` after every training epoch. Add it with `--callbacks+=TestEveryEpoch`."""

    __test__ = False  # the name looks like a test to pytest

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        data.setup("test")
        pl_module.eval()
        with torch.inference_mode():
            for batch_idx, batch in enumerate(data.test_dataloader()):
                batch = trainer.strategy.batch_to_device(batch)
                batch = data.normalise(batch)
                with trainer.precision_plugin.test_step_context():
                    pl_module.test_step(batch, batch_idx)
        pl_module.train()
        pl_module.on_test_epoch_end()
