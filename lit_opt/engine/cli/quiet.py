"""Silences what Lightning and torch print at every run and no user can act on."""

import logging
import os
import re
import warnings

IGNORED = [
    r".*LeafSpec.*",  # Lightning on torch >= 2.10, mended upstream
    r".*does not have many workers.*",  # data in memory: workers cost more than they bring
    r".*is smaller than the logging interval.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*callbacks used to create the checkpoint need to be provided.*",  # they are of fit only
    r".*across ranks is zero.*",  # no validation set
    r".*requested to overfit but.*",  # the loaders' own order is no shuffling of the validation
    r".*self\.log\(\)` but `Trainer\(barebones.*",  # asked for
]


# What Lightning logs at every run.
ROUTINE = re.compile(
    r"💡|Seed set to|available: |Loading `train_dataloader`|`Trainer.fit` stopped"
    r"|Restor(ing|ed)|Loaded model weights|fast_dev_run|was configured so"
    r"|SLURM auto-requeueing enabled|Mixed Precision|LOCAL_RANK|distributed|GLOBAL_RANK|^-+\n"
    r"|Tensor Cores"
)


def quiet_warnings() -> None:
    """To be called before Lightning is imported."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    for pattern in IGNORED:
        warnings.filterwarnings("ignore", pattern)


def quiet_loggers() -> None:
    """To be called after Lightning is imported, which makes the handlers."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        for handler in logging.getLogger(name).handlers:
            if _worth_reading not in handler.filters:
                handler.addFilter(_worth_reading)


def _worth_reading(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not ROUTINE.search(record.getMessage())
