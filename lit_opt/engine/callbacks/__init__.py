"""Callbacks, one idea a file: they watch a run; none but `ChangeHyperparameters` steers it.

Add one of yours with `--callbacks+=your_package.YourCallback`; those here may be named without a
package. `HalveWhenStuck` is the example to copy, `StopAtNonFinite` and `EMA` are to be left alone.
"""

from lit_opt.engine.callbacks.ema import EMA as EMA
from lit_opt.engine.callbacks.finite import StopAtNonFinite as StopAtNonFinite
from lit_opt.engine.callbacks.freeze import Freeze as Freeze
from lit_opt.engine.callbacks.hyperparameters import ChangeHyperparameters as ChangeHyperparameters
from lit_opt.engine.callbacks.hyperparameters import HalveWhenStuck as HalveWhenStuck
from lit_opt.engine.callbacks.live_progress import LiveProgress as LiveProgress
from lit_opt.engine.callbacks.log_progress import LogProgress as LogProgress
from lit_opt.engine.callbacks.predictions import WritePredictions as WritePredictions
from lit_opt.engine.callbacks.progress import EpochLines as EpochLines
from lit_opt.engine.callbacks.step_log import StepLog as StepLog
from lit_opt.engine.callbacks.test_every_epoch import TestEveryEpoch as TestEveryEpoch
