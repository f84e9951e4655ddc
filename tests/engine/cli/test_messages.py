"""Words of Lightning that don't say what to do are told in others."""

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lit_opt.engine.cli.main import main


class Line(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()

    def predict_step(self, batch, batch_idx):
        return self.layer(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Rows(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(torch.ones(4, 2), 2)  # type: ignore[arg-type]

    predict_dataloader = train_dataloader


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_batch_size_by_its_place_is_asked_for_by_its_name(capsys):
    main(Line, Rows, args=["--name=a", "--epochs=1"])
    with pytest.raises(SystemExit) as left:
        main(Line, Rows, args=["predict", "--ckpt_path=runs/a/checkpoints/last.ckpt"])
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert "write DataLoader(rows, batch_size=…) in your predict_dataloader" in told
