"""Hyperparameters in checkpoints are plain values, so that `weights_only=True` can load them."""

from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters


def objects(*names: str) -> list[str]:
    """The arguments to leave out of `save_hyperparameters` because they are objects, not values.

    The command line hands Lightning the values that `names` were built from, so nothing is left
    out there; built in Python they are instances, to be given again to `load_from_checkpoint`.
    """
    return list(names) if _given_hyperparameters.get() is None else []
