"""Losses of your own: any function or `nn.Module` called as `loss(outputs, labels)`.

They go by their names, like those of torch.nn: `python train.py --loss my_cross_entropy`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def my_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """`-mean_i log softmax(outputs_i)[labels_i]`, equal to `F.cross_entropy`.

    `outputs`: float (B, C), logits. `labels`: int64 (B,) in [0, C). Returns a scalar >= 0.
    After `myCrossEntropyLoss` of https://cs230.stanford.edu/blog/pytorch/#loss-function,
    whose sum is divided by a `num_examples` that is nowhere defined.
    """
    log_probs = F.log_softmax(outputs, dim=1)  # (B, C)
    rows = torch.arange(len(labels), device=labels.device)  # (B,)
    return -log_probs[rows, labels].mean()
