"""The optimizer from the hyperparameters."""

import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.optim.by_name import Spec, construct, parse
from lit_opt.engine.optim.muon import MuonAdamW, split_hidden
from lit_opt.engine.optim.param_groups import param_groups

INSTEAD_OF_FUSED = {"fused", "foreach", "differentiable"}
KERNELS = INSTEAD_OF_FUSED | {"capturable"}  # how a step is computed, not what


def build_optimizer(
    spec: Spec,
    of: nn.Module | Iterable[dict[str, Any]],
    lr: float,
    may_fuse: bool = True,
    lr_factors: Mapping[str, float] | None = None,
) -> Optimizer:
    """The optimizer of a module's parameters that require grad, or of param groups of your own.

    Of a module, `lr_factors` and, in the spec, `no_decay: true` make the groups: see
    `param_groups`. A group of your own without an `lr` has `lr`.

    Fused, one pass over the memory instead of one an operation, where torch has it for the class
    and the device, unless the spec says `fused` itself.
    """
    if not math.isfinite(lr):
        raise UserError(f"--lr is {lr}; expected a number")
    cls, given = parse(spec, "optimizer", Optimizer)
    if isinstance(of, nn.Module):
        _check_parameters(cls, of)
        decays = "weight_decay" in inspect.signature(cls).parameters
        spare = given.pop("no_decay", False) if decays else False
        if not isinstance(spare, bool):
            raise UserError(f"--optimizer.no_decay {spare}: expected true or false")
        groups = param_groups(of, lr, lr_factors, spare)
        if cls is torch.optim.Muon:
            cls, groups = MuonAdamW, split_hidden(of, groups)
    else:
        groups = [{**group, "params": list(group["params"])} for group in of]
    params = [p for group in groups for p in group["params"]]
    if may_fuse and _can_fuse(cls, params) and not given.keys() & INSTEAD_OF_FUSED:
        given["fused"] = True
    optimizer: Optimizer = construct(cls, "optimizer", groups, given, {"lr": lr})
    optimizer.register_load_state_dict_pre_hook(_keep_kernels)
    return optimizer


def _keep_kernels(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """A restored state is computed with as this optimizer was built; torch moves it accordingly."""
    groups, saved = optimizer.param_groups, state["param_groups"]
    if len(groups) == len(saved):  # else torch refuses it
        kept = [{key: group[key] for key in KERNELS & group.keys()} for group in groups]
        state["param_groups"] = [a | b for a, b in zip(saved, kept, strict=True)]


def _check_parameters(cls: type, module: nn.Module) -> None:
    owners = [m for m in module.modules() if any(p.requires_grad for p in m.parameters(False))]
    if not owners:
        raise UserError("the net has no parameters that require grad: there is nothing to train")
    if cls is torch.optim.SparseAdam and not all(getattr(m, "sparse", False) for m in owners):
        raise UserError(
            "SparseAdam trains nothing but nn.Embedding(sparse=True), and the net has other "
            "parameters; set --optimizer Adam"
        )


def _can_fuse(cls: type, params: list[nn.Parameter]) -> bool:
    known = "fused" in inspect.signature(cls).parameters
    return known and all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in params)
