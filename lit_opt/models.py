"""Nets: plain `nn.Module`s that know nothing of Lightning. Replace them with yours.

A net maps `x: float (B, C, H, W)`, normalised, to `logits: float (B, num_classes)`; nothing follows
the last layer, the losses expect raw logits. Constructor arguments called `in_shape`, `in_channels`
and `num_classes` are filled in from the data unless you set them.
"""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """The tutorial's net: fully connected layers with ReLU between them (784-512-512-10).

    Args:
        in_shape: Shape of one sample, (C, H, W) or (F,).
        num_classes: Outputs: classes, or targets of a regression.
        hidden: Widths of the hidden layers.
        dropout: Probability of zeroing a hidden unit in training.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...] = (1, 28, 28),
        num_classes: int = 10,
        hidden: tuple[int, ...] = (512, 512),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for width_in, width_out in pairwise((prod(in_shape), *hidden)):
            layers += [nn.Linear(width_in, width_out), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear((prod(in_shape), *hidden)[-1], num_classes))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # (B, C, H, W) -> (B, num_classes)


def conv_bn_relu(
    in_channels: int, out_channels: int, size: int = 3, stride: int = 1, pool: bool = False
) -> nn.Module:
    """Convolution, batch norm and ReLU; 3×3 keeps H and W, 4×4 with stride 2 halves them.

    So does `pool`, before the batch norm, which then has a quarter to do (David Page's "Bag of
    Tricks" for ResNets, 2019).
    """
    convolution = nn.Conv2d(in_channels, out_channels, size, stride, padding=1, bias=False)
    pooling = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(convolution, *pooling, nn.BatchNorm2d(out_channels), nn.ReLU())


def highest(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C). AdaptiveMaxPool2d(1), too, but for `--deterministic true` on GPUs."""
    return x.amax((-2, -1))


class ConvNet(nn.Module):
    """Four 3×3 convolutions, 241 thousand parameters, for images of 8×8 pixels and more.

    Args:
        in_channels: Channels of the images.
        num_classes: Outputs.
        width: Channels after the first convolution; the others have 2 and 4 times as many.
        dropout: Probability of zeroing a feature before the last layer, in training.
        strided: Halve H and W in the first convolution, which is 4×4 then, and again before the
            last, which has 8 times `width`; 16 is wide enough for 93 % on Fashion-MNIST.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        width: int = 32,
        dropout: float = 0.0,
        strided: bool = False,
    ) -> None:
        super().__init__()
        kernel = (4, 2) if strided else (3, 1)  # size and stride
        last = (8 if strided else 4) * width
        self.features = nn.Sequential(
            conv_bn_relu(in_channels, width, *kernel, pool=not strided),  # (B, width, H/2, W/2)
            conv_bn_relu(width, 2 * width, pool=True),  # (B, 2 width, H/4, W/4)
            conv_bn_relu(2 * width, 4 * width, pool=strided),  # (B, 4 width, H/8, W/8) if strided
            conv_bn_relu(4 * width, last),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(last, num_classes))
        self.to(memory_format=torch.channels_last)  # convolutions take 0.6 of the time on a CPU

    def forward(self, x: Tensor) -> Tensor:
        return self.head(highest(self.features(x)))  # (B, C, H, W) -> (B, num_classes)


class Residual(nn.Module):
    """`x + f(x)` with two convolutions for f; keeps the shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f = nn.Sequential(conv_bn_relu(channels, channels), conv_bn_relu(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


class ResNet9(nn.Module):
    """A ResNet of nine layers for 32×32 images, after David Page's CIFAR-10 DAWNBench entry (2018).

    Args:
        in_channels: Channels of the images.
        num_classes: Outputs.
        width: Channels after the first convolution; 64 gives 6.6 million parameters.
        scale: Factor on the logits; small logits at the start keep large learning rates stable.
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 10, width: int = 64, scale: float = 0.125
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn_relu(in_channels, width),
            conv_bn_relu(width, 2 * width, pool=True),  # (B, 2 width, H/2, W/2)
            Residual(2 * width),
            conv_bn_relu(2 * width, 4 * width, pool=True),  # (B, 4 width, H/4, W/4)
            conv_bn_relu(4 * width, 8 * width, pool=True),  # (B, 8 width, H/8, W/8)
            Residual(8 * width),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * width, num_classes, bias=False))
        self.scale = scale
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(highest(self.features(x))) * self.scale  # (B, C, H, W) -> (B, num_classes)
