"""Voids the updates of an optimizer on the device, from the first number on that is not finite.

Reading a number makes the host wait for the device; nothing here does but `Latch.read`.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Latch:
    """Looks at inputs and losses, step for step; once one is nan or infinite, weights stand still.

    Args:
        device: Where the losses are.
        optimizers: Those whose updates are voided. Fused ones skip them by themselves, as with a
            GradScaler; for others the weights before each step are kept, a copy of all of them.
        scaled: Whether a GradScaler uses the flag of fused optimizers.
        shared: Whether what one process sees holds for all; each then looks equally often.
    """

    def __init__(
        self, device: torch.device, optimizers: Iterable[Optimizer], scaled: bool, shared: bool
    ) -> None:
        # 0, and nan from the first number on that is not finite: 0·nan and 0·inf are nan.
        self._marks = torch.zeros(2, device=device)
        self._inputs, self._losses = self._marks.unbind()
        self._shut = torch.zeros((), device=device)  # 1.0 from then on
        self._shut_looks = torch.zeros((), device=device)
        self._shared = shared
        self._kept: dict[Optimizer, list[Tensor]] = {}
        for optimizer in optimizers:
            if getattr(optimizer, "_step_supports_amp_scaling", False) and not scaled:
                optimizer.found_inf = self._shut  # type: ignore[attr-defined]
            else:
                optimizer.register_step_pre_hook(self._keep)
                optimizer.register_step_post_hook(self._restore)

    def look_at_inputs(self, x: Tensor) -> None:
        """`x`: float, any shape, of the next loss; a sum over it shows nan and inf."""
        self._inputs.add_(x.sum(dtype=torch.float32), alpha=0)

    def look_at_loss(self, loss: Tensor) -> None:
        """`loss`: float (). Shuts the latch if the loss or the inputs are not finite."""
        self._losses.addcmul_(loss, self._inputs, value=0)
        if self._shared:
            torch.distributed.all_reduce(self._marks)  # a sum
        torch.ne(self._losses, 0, out=self._shut)
        self._shut_looks.add_(self._shut)

    def read(self) -> tuple[int, bool]:
        """Losses looked at since the latch is shut, the first bad one included; whether the inputs
        were not finite either."""
        looks, inputs = torch.stack((self._shut_looks, self._inputs)).tolist()
        return int(looks), inputs != 0

    def _keep(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        weights = _weights(optimizer)
        if optimizer not in self._kept:
            self._kept[optimizer] = [torch.empty_like(weight) for weight in weights]
        for kept, weight in zip(self._kept[optimizer], weights, strict=True):
            kept.copy_(weight)

    def _restore(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        shut = self._shut.bool()
        for kept, weight in zip(self._kept[optimizer], _weights(optimizer), strict=True):
            torch.where(shut, kept, weight, out=weight)


def _weights(optimizer: Optimizer) -> list[Tensor]:
    return [p.detach() for group in optimizer.param_groups for p in group["params"]]
