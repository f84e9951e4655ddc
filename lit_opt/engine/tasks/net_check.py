"""A net that does not fit the data fails before the first step."""

import torch
from torch import nn

from lit_opt.engine.errors import UserError

LOSSES_OF_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)


def check_loss(loss: object, regression: bool) -> None:
    """Raises `UserError` if the loss compares classes and the data has targets."""
    if regression and isinstance(loss, LOSSES_OF_CLASSES):
        name = type(loss).__name__
        raise UserError(f"the data has targets, not classes as {name} needs; set --loss MSELoss")


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
