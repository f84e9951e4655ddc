"""Muon for a whole net: torch's Muon on the hidden weights, AdamW on all others.

K. Jordan, https://kellerjordan.github.io/posts/muon/: Muon is for the 2-D weights of hidden
layers; "scalar and vector parameters of the network, as well as the input and output layers,
should be optimized by a standard method such as AdamW".
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lit_opt.engine.base.errors import UserError


def hidden_weights(net: nn.Module) -> list[nn.Parameter]:
    """The 2-D weights but embeddings, norms and, in `net.parameters()`'s order, the first and last.

    Weights of convolutions are 4-D, and torch's Muon takes 2-D ones only.
    """
    weights = [p for p in net.parameters() if p.ndim >= 2]
    apart = {*weights[:1], *weights[-1:]}
    for module in net.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) or "Norm" in type(module).__name__:
            apart.update(module.parameters(recurse=False))
    return [p for p in weights if p.ndim == 2 and p.requires_grad and p not in apart]


def split_hidden(net: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each group as two, `hidden_weights(net)`, marked with `use_muon`, and the others.

    Raises `UserError` if nothing is hidden.
    """
    hidden = set(hidden_weights(net))
    if not hidden:
        raise UserError(
            "Muon trains the 2-D weights between a net's first and last layer, "
            "and this net has none; set --optimizer AdamW"
        )
    parts = []
    for use_muon in (True, False):
        for group in groups:
            params = [p for p in group["params"] if (p in hidden) == use_muon]
            name = {"name": group["name"] + "/hidden" * use_muon} if "name" in group else {}
            parts.append({**group, **name, "params": params, "use_muon": use_muon})
    return [part for part in parts if part["params"]]


class MuonAdamW(torch.optim.Optimizer):
    """Param groups with `use_muon` for Muon, all others for AdamW.

    One `lr` and one `weight_decay` serve both, since Muon's updates are scaled to AdamW's usual
    size (Liu et al. 2025, https://arxiv.org/abs/2502.16982, eq. 4). `momentum`, `nesterov` and
    `ns_steps` are Muon's, `betas` and `eps` are AdamW's.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        hidden = [group for group in groups if group.get("use_muon")]
        others = [group for group in groups if not group.get("use_muon")]
        self._muon = torch.optim.Muon(
            hidden, lr, weight_decay, momentum, nesterov, ns_steps=ns_steps,
            adjust_lr_fn="match_rms_adamw",
        )  # fmt: skip
        self._adamw = torch.optim.AdamW(others or [{"params": []}], lr, betas, eps, weight_decay)
        groups = [*self._muon.param_groups, *self._adamw.param_groups]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    def _share(self) -> None:
        """Let both work on this optimizer's groups and state, which schedulers and files see.

        Groups that a callback has added are AdamW's.
        """
        self._muon.param_groups, self._adamw.param_groups = [], []
        for group in self.param_groups:
            if "ns_steps" in group:
                self._muon.param_groups.append(group)
            else:
                self._adamw.param_groups.append(self._adamw.defaults | group)
        self._muon.state = self._adamw.state = self.state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._share()
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adamw.step()
        return loss
