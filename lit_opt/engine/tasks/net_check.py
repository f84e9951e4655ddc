"""A net that does not fit the data fails before the first step."""

from typing import Any

import torch
from torch import nn

from lit_opt.engine.errors import UserError

LOSSES_OF_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)


def check_loss(loss: Any, regression: bool, num_classes: int) -> None:
    """Raises `UserError` if a loss of torch.nn is not for the data, or refuses its arguments.

    Args:
        loss: What `OnLogits` holds.
        regression: Whether the data has targets, not classes.
        num_classes: Outputs of the net, C or K.
    """
    name = type(loss).__name__
    if regression and isinstance(loss, LOSSES_OF_CLASSES):
        raise UserError(f"the data has targets, not classes as {name} needs; set --loss MSELoss")
    if isinstance(loss, nn.CrossEntropyLoss) and not regression:
        try:
            loss(torch.zeros(1, num_classes), torch.zeros(1, dtype=torch.int64))
        except (RuntimeError, ValueError) as error:
            raise UserError(f"--loss {name}: {str(error).splitlines()[0]}") from error


def check_net(net: nn.Module, in_shape: tuple[int, ...], num_classes: int) -> None:
    """Sends two blank samples through `net`.

    Raises:
        UserError: if the net does not take (2, *in_shape) or does not put out (2, num_classes).
    """
    name, shape = type(net).__name__, tuple(in_shape)
    was_training = net.training
    try:
        with torch.no_grad():
            outputs = net.eval()(torch.zeros(2, *shape))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the net {name} does not take samples of shape {shape}: {reason}\n"
            f"set its size with --net.in_shape or --net.in_channels, or choose another --net"
        ) from error
    finally:
        net.train(was_training)
    seen = tuple(outputs.shape)
    if seen != (2, num_classes):
        raise UserError(
            f"the data has {num_classes} classes, so a batch of 2 gives (2, {num_classes}); "
            f"the net {name} gives {seen}\nset --net.num_classes {num_classes}"
        )
