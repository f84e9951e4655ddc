"""Optimizers and learning-rate schedulers from hyperparameters.

`build_optimizer` and `build_schedulers` serve any LightningModule, with `plan_of(trainer)` for the
length of the training. To add an optimizer or scheduler nothing here needs a change: write a class
anywhere and give its import path, `--optimizer package.module.Class`.
"""
