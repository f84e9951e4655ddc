"""Digits in two halves: a net pretrained on 0 to 4 is fine-tuned on a few images of 5 to 9."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from lit_opt.sources import Digits, Source


class Half(Source):
    """Three channels, 32×32, as torchvision's nets expect.

    Args:
        second: Whether the digits are 5 to 9, instead of 0 to 4.
        per_class: Training samples of each class; None for all.
    """

    in_shape, num_classes = (3, 32, 32), 5

    def __init__(self, second: bool = False, per_class: int | None = None) -> None:
        self.first, self.per_class = 5 * second, per_class
        self.classes = [str(self.first + k) for k in range(5)]

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        loaded = Digits().load(data_dir, split)
        if loaded is None:
            return None
        x, y = loaded
        keep = (y >= self.first) & (y < self.first + 5)
        x, y = x[keep], y[keep] - self.first
        if self.per_class and split == "train":
            rows = torch.cat([(y == k).nonzero().flatten()[: self.per_class] for k in range(5)])
            x, y = x[rows], y[rows]
        x = x.repeat_interleave(4, 2).repeat_interleave(4, 3)  # (N, 1, 8, 8) -> (N, 1, 32, 32)
        return x.expand(-1, 3, -1, -1).contiguous(), y


def pretrained(weights: str | None = None, num_classes: int = 5, **kwargs: Any) -> nn.Module:
    """torchvision's ResNet-18 with the weights of a run of lit-opt, but for a new last layer.

    ImageNet's come by `--net torchvision.models.resnet18 --net.weights DEFAULT` instead.

    Args:
        weights: The checkpoint of that run; None for random weights.
        num_classes: Outputs.
        kwargs: What else torchvision's function takes.
    """
    net = resnet18(num_classes=num_classes, **kwargs)
    if weights:
        saved = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
        net = resnet18(num_classes=len(saved["net.fc.bias"]), **kwargs)
        net.load_state_dict({k.removeprefix("net."): w for k, w in saved.items() if "net." in k})
        net.fc = nn.Linear(net.fc.in_features, num_classes)
    return net
