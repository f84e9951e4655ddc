"""Callbacks: one idea a file."""

from lit_opt.callbacks.continuing import Continue
from lit_opt.callbacks.ema import EMA
from lit_opt.callbacks.every_epoch import TestEveryEpoch
from lit_opt.callbacks.finite import StopAtNonFinite
from lit_opt.callbacks.hyperparameters import ChangeHyperparameters, HalveWhenStuck
from lit_opt.callbacks.interrupts import StopOnSignal
from lit_opt.callbacks.predictions import WritePredictions
from lit_opt.callbacks.progress import EpochLines
from lit_opt.callbacks.resume import NewHyperparametersWin
from lit_opt.callbacks.step_log import StepLog

__all__ = [
    "EMA",
    "ChangeHyperparameters",
    "Continue",
    "EpochLines",
    "HalveWhenStuck",
    "NewHyperparametersWin",
    "StepLog",
    "StopAtNonFinite",
    "StopOnSignal",
    "TestEveryEpoch",
    "WritePredictions",
]
