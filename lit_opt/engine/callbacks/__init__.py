"""Callbacks, one idea a file: they watch a run; none but `ChangeHyperparameters` steers it.

Add one of yours with `--callbacks+=your_package.YourCallback`; those here may be named without a
package. `HalveWhenStuck` is the example to copy, `StopAtNonFinite` and `EMA` are to be left alone.
"""

from lit_opt.engine.callbacks.ema import EMA
from lit_opt.engine.callbacks.finite import StopAtNonFinite
from lit_opt.engine.callbacks.hyperparameters import ChangeHyperparameters, HalveWhenStuck
from lit_opt.engine.callbacks.predictions import WritePredictions
from lit_opt.engine.callbacks.progress import EpochLines
from lit_opt.engine.callbacks.step_log import StepLog
from lit_opt.engine.callbacks.test_every_epoch import TestEveryEpoch

__all__ = [
    "EMA",
    "ChangeHyperparameters",
    "EpochLines",
    "HalveWhenStuck",
    "StepLog",
    "StopAtNonFinite",
    "TestEveryEpoch",
    "WritePredictions",
]
