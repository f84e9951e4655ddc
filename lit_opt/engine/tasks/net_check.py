"""A net, a loss or a metric that does not fit the data fails before the first step."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lit_opt.engine.base.allowed_imports import OWN
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.own_code import is_own_class
from lit_opt.engine.base.targets import Classes
from lit_opt.engine.tasks.metrics import Scores

OTHER_NET = "choose another --net"


def check_loss(loss: Any, targets: Classes, num_classes: int) -> None:
    """Raises `UserError` if a loss of torch.nn is not for the data, or refuses its arguments.

    Args:
        loss: What `OnLogits` holds.
        targets: What the data declares.
        num_classes: Outputs of the net, C or K.
    """
    name = type(loss).__name__
    if any(cls.__name__ in targets.refused for cls in type(loss).__mro__):
        raise UserError(
            f"the targets of the data are {type(targets).__name__}, y {targets.y};\n"
            f"{name} is for others: set --loss {targets.instead}"
        )
    if isinstance(loss, nn.CrossEntropyLoss):
        try:
            loss(torch.zeros(1, num_classes), torch.zeros(1, dtype=torch.int64))
        except (RuntimeError, ValueError) as error:
            raise UserError(f"--loss {name}: {str(error).splitlines()[0]}") from error


def check_net(net: nn.Module, x: Tensor, expected: Sequence[int], num_classes: int) -> Tensor:
    """Sends blank samples through `net`; returns what it puts out.

    Args:
        net: The net.
        x: Zeros (2, *in_shape), in the dtype of the data.
        expected: The shape of the outputs that the targets ask for, without the 2.
        num_classes: Outputs of the net, C or K.

    Raises:
        UserError: if the net does not take x or puts out another shape.
    """
    name, was_training = type(net).__name__, net.training
    try:
        with torch.no_grad():
            outputs = net.eval()(x)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        sizes = ("in_shape", "in_channels") if isinstance(error, RuntimeError) else ()
        raise UserError(
            f"the net {name} does not take samples of shape {tuple(x.shape[1:])}, {x.dtype}: "
            f"{reason}\n{_remedy(net, '', *sizes)}"  # a place in own code is added
        ) from error
    finally:
        net.train(was_training)
    seen = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if seen != (2, *expected):
        other_size = len(seen) == len(expected) + 1  # and not another number of axes
        own = "change what its forward returns"
        sets = _remedy(net, own, *(["num_classes"] if other_size else []))
        sets = sets.replace("num_classes", f"num_classes {num_classes}")
        raise UserError(
            f"the data has {num_classes} classes (or labels, or numbers a sample), so a batch of 2 "
            f"gives {(2, *expected)};\nthe net {name} gives {seen}\n{sets}"
        )
    return outputs


def _remedy(net: nn.Module, own: str, *sizes: str) -> str:
    """What to change: of `sizes` the keys that the net has, or else the net.

    Args:
        net: The net.
        own: What else to change where the user wrote the net, which has no others beside it.
        sizes: Its arguments that may be wrong.
    """
    taken = inspect.signature(type(net)).parameters
    keys = " or ".join(f"--net.{size}" for size in sizes if size in taken)
    written = is_own_class(type(net)) and type(net).__module__.partition(".")[0] != OWN
    return ", or ".join(filter(None, [keys and f"set {keys}", own if written else OTHER_NET]))


def check_takes(what: str, take: Callable[..., Any], outputs: Tensor, y: Tensor) -> None:
    """Raises `UserError` if a loss or a metric does not take the net's outputs with y.

    Args:
        what: What it is, for the message.
        take: Called as `take(outputs, y)`.
    """
    try:
        take(outputs, y)
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{what} does not take outputs {tuple(outputs.shape)}\n"
            f"with y {tuple(y.shape)}: {reason}"
        ) from error


def check_targets(model: Any, data: Any) -> None:
    """Raises `UserError` if net, loss or metrics are not for what the data's targets are."""
    (x, y), num = data.example(), data.num_classes
    loss = model.loss.loss
    check_loss(loss, data.targets, num)
    outputs = check_net(model.net, x, data.targets.shape_of_outputs(num, y.shape[1:]), num)
    model.loss.follow(data.targets)
    check_takes(f"--loss {getattr(loss, '__name__', type(loss).__name__)}", model.loss, outputs, y)
    for name, metric in model.val_scores.clone().items(keep_base=True, copy_state=False):
        one = Scores({name: metric}, prefix="")
        one.follow(data.targets, None)
        update = partial(one.update, loss=outputs.sum())
        check_takes(f"--metrics: {name}, {type(metric).__name__},", update, outputs, y)
