"""The tutorial tests after every epoch: for the curves only, nothing is selected by it."""

from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from lit_opt.engine.base.terminal import long_step
from lit_opt.engine.callbacks.ema import averaged
from lit_opt.engine.lightning_private import stage_of_test


class TestEveryEpoch(Callback):
    """Logs `test/…` after every training epoch: `--callbacks+=TestEveryEpoch`."""

    __test__ = False  # the name looks like a test to pytest

    def on_train_epoch_end(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        trainer.datamodule.setup("test")
        loader, limit = trainer.datamodule.test_dataloader(), trainer.limit_test_batches
        batches = limit if isinstance(limit, int) else int(limit * len(loader))
        pl_module.eval()
        with (
            long_step("testing"),
            torch.inference_mode(),
            averaged(trainer),
            stage_of_test(trainer),
        ):
            for batch_idx, batch in enumerate(islice(loader, batches)):
                batch = trainer.precision_plugin.convert_input(batch)
                batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
                with trainer.precision_plugin.test_step_context():
                    pl_module.test_step(batch, batch_idx)
        pl_module.train()
        pl_module.on_test_epoch_end()
