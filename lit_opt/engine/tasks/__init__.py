"""What a classification or regression needs around its net: losses on logits, metrics, checks.

`short_step.ShortStepModule` is the base class of LitModule in `module.py`; a module of your own
may have it or Lightning's. To add a loss or metric nothing here needs a change: the command line
takes any by its import path.
"""
