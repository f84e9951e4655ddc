"""Callbacks: one idea a file."""

from lit_opt.callbacks.every_epoch import TestEveryEpoch
from lit_opt.callbacks.hyperparameters import ChangeHyperparameters, HalveWhenStuck
from lit_opt.callbacks.predictions import WritePredictions
from lit_opt.callbacks.progress import EpochLines
from lit_opt.callbacks.resume import NewHyperparametersWin
from lit_opt.callbacks.step_log import StepLog

__all__ = [
    "ChangeHyperparameters",
    "EpochLines",
    "HalveWhenStuck",
    "NewHyperparametersWin",
    "StepLog",
    "TestEveryEpoch",
    "WritePredictions",
]
