"""Digits that are copied by an autoencoder, and digits that are made up by a GAN."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_opt.engine.base.targets import Regression
from lit_opt.sources import Digits, Source


class Copies(Source):
    """x float (N, 64) in [0, 1] and y = x; batches hold x normalised, y as it is."""

    in_shape, num_classes, targets = (64,), 64, Regression()

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        loaded = Digits().load(data_dir, split)
        if loaded is None:
            return None
        x = loaded[0].flatten(1) / 255
        return x, x


class GAN(pl.LightningModule):
    """Two MLPs and two optimizers; the non-saturating loss of Goodfellow et al. (2014), 4.3.

    Args:
        latent: Random numbers an image is made of.
        width: Of the hidden layers.
        lr: Learning rate of both.
    """

    def __init__(self, latent: int = 16, width: int = 128, lr: float = 1e-3) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.latent, self.lr = latent, lr
        self.generator = nn.Sequential(
            nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.generator.append(nn.Linear(width, 64))
        self.critic = nn.Sequential(nn.Linear(64, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def forward(self, count: int) -> Tensor:
        z = torch.randn(count, self.latent, device=self.device)
        return self.generator(z)  # (B, 64), normalised as the data is

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        real = batch[0].flatten(1)  # (B, 1, 8, 8) -> (B, 64)
        optimizers: Any = self.optimizers()
        for_generator, for_critic = optimizers
        fake = self(len(real))

        loss = F.softplus(-self.critic(real)).mean() + F.softplus(self.critic(fake.detach())).mean()
        for_critic.zero_grad()
        self.manual_backward(loss)
        for_critic.step()

        deceived = F.softplus(-self.critic(fake)).mean()
        for_generator.zero_grad()
        self.manual_backward(deceived)
        for_generator.step()
        self.log_dict({"train/critic": loss, "train/generator": deceived})

    def _distance(self, real: Tensor) -> Tensor:
        """() of the means and stds of each pixel of made-up images from those of real ones."""
        fake = self(1000)
        means = (fake.mean(0) - real.mean(0)).square().mean()
        return (means + (fake.std(0) - real.std(0)).square().mean()).sqrt()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/pixels", self._distance(batch[0].flatten(1)))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("test/pixels", self._distance(batch[0].flatten(1)))

    def configure_optimizers(self) -> Any:
        parts = self.generator, self.critic
        return [torch.optim.Adam(part.parameters(), self.lr, betas=(0.5, 0.99)) for part in parts]
