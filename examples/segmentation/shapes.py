"""Segmentation: a small U-Net finds circles, squares and triangles in noise."""

from pathlib import Path

import torch
from torch import Tensor, nn

from lit_opt.engine.targets import DenseClasses
from lit_opt.sources import Source


class Shapes(Source):
    """Synthetic images 32x32 with one circle, square and triangle each: 1,000 and 200 to test."""

    in_shape = (1, 32, 32)
    classes = ("background", "circle", "square", "triangle")
    num_classes = 4
    targets = DenseClasses()

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        """x: uint8 (N, 1, 32, 32), shapes brighter than the noise; y: int64 (N, 32, 32)."""
        if split == "val":
            return None
        N, generator = (1000, torch.Generator().manual_seed(0))
        if split == "test":
            N, generator = (200, torch.Generator().manual_seed(1))
        row, col = torch.arange(32).view(32, 1), torch.arange(32)  # (32, 1), (32,)
        y = torch.zeros(N, 32, 32, dtype=torch.int64)
        for kind in (1, 2, 3):  # later ones lie on top
            u = torch.randint(6, 26, (2, N, 1, 1), generator=generator)
            r = torch.randint(4, 8, (N, 1, 1), generator=generator)
            down, right = row - u[0], col - u[1]  # (N, 32, 1), (N, 1, 32)
            inside = {
                1: down**2 + right**2 <= r**2,
                2: (down.abs() <= r) & (right.abs() <= r),
                3: (down.abs() <= r) & (2 * right.abs() <= down + r),
            }[kind]
            y[inside] = kind
        noise = 40 * torch.randn(N, 32, 32, generator=generator)
        x = (80 + 80 * (y > 0) + noise).clamp(0, 255).to(torch.uint8)
        return x[:, None], y


def block(channels: int, out: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())


class UNet(nn.Module):
    """Two levels down and up again, with skips.

    Args:
        in_channels: Of an image.
        num_classes: Of a pixel.
        width: Channels at full size.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 4, width: int = 16) -> None:
        super().__init__()
        W = width
        self.down1, self.down2 = block(in_channels, W), block(W, 2 * W)
        self.bottom = block(2 * W, 4 * W)
        self.up2, self.up1 = block(6 * W, 2 * W), block(3 * W, W)
        self.pool, self.grow = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.head = nn.Conv2d(W, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)  # (B, W, H, W)
        b = self.down2(self.pool(a))  # (B, 2W, H/2, W/2)
        c = self.bottom(self.pool(b))  # (B, 4W, H/4, W/4)
        b = self.up2(torch.cat([b, self.grow(c)], 1))  # (B, 2W, H/2, W/2)
        a = self.up1(torch.cat([a, self.grow(b)], 1))  # (B, W, H, W)
        logits: Tensor = self.head(a)  # (B, num_classes, H, W)
        return logits
