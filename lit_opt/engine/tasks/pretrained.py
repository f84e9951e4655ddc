"""Nets out of factories, which may come with weights of another number of classes."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from lit_opt.engine.base.errors import UserError

HEADS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def takes_weights(arguments: dict[str, Any]) -> bool:
    """Whether a factory is asked for trained weights and for a number of classes."""
    asked = arguments.get("weights") or arguments.get("pretrained")
    return bool(asked and arguments.get("num_classes"))


def build_net(build: Callable[[dict[str, Any]], nn.Module], sizes: dict[str, Any]) -> Any:
    """The net of a factory, with `num_classes` outputs and, if it has any, its trained weights.

    A factory that has weights for another number of classes refuses it, or can't load them: it is
    asked again without the number, and each last layer of that many outputs is replaced by a new
    one. Others, such as timm's, do this by themselves. A size that it doesn't know is left out.

    Args:
        build: Gives the net for the sizes that it takes, such as num_classes.
        sizes: They.

    Raises:
        UserError: if the weights aren't there, or the net has no last layer to replace.
    """
    try:
        return build(sizes)
    except OSError as error:  # URLError is one
        raise UserError(_not_there(error)) from error
    except (ValueError, RuntimeError, TypeError) as refusal:
        named = next((key for key in sizes if f"'{key}'" in str(refusal)), "num_classes")
        if named not in sizes:
            raise
        fewer = {key: size for key, size in sizes.items() if key != named}
        try:
            net = build_net(build, fewer)
        except (ValueError, RuntimeError, TypeError):
            raise refusal from None
    return replace_heads(net, sizes["num_classes"]) if named == "num_classes" else net


def _not_there(error: OSError) -> str:
    return (
        f"--net: its weights can't be fetched: {getattr(error, 'reason', None) or error};\n"
        "they are kept in $TORCH_HOME/hub/checkpoints once they are there; without: "
        "--net.weights null"
    )


def replace_heads(net: nn.Module, num_classes: int) -> nn.Module:
    """`net` with `num_classes` outputs: each layer as wide as the last one is made anew.

    Auxiliary heads have the same number of outputs. Raises `UserError` if the net ends in no
    linear layer or convolution.
    """
    layers = [(name, m) for name, m in net.named_modules() if isinstance(m, HEADS)]
    if not layers:
        raise UserError(f"--net: {type(net).__name__} has no last layer to replace; choose another")
    last: Any = layers[-1][1]
    width = _outputs(last)
    if width == num_classes:
        return net
    for name, layer in layers:
        if _outputs(layer) == width:
            owner, _, attribute = name.rpartition(".")
            setattr(net.get_submodule(owner), attribute, _anew(layer, num_classes))
    return net


def _outputs(layer: Any) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _anew(layer: Any, outputs: int) -> nn.Module:
    """A layer of the same kind and arguments with other outputs, at torch's initial weights."""
    taken = [name for name in inspect.signature(type(layer)).parameters if hasattr(layer, name)]
    arguments = {name: getattr(layer, name) for name in taken}
    arguments |= {"bias": layer.bias is not None, "dtype": layer.weight.dtype}
    arguments["out_features" if isinstance(layer, nn.Linear) else "out_channels"] = outputs
    return type(layer)(**arguments, device=layer.weight.device)
