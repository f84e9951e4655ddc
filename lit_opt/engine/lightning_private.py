"""Every private name of Lightning, torch, torchmetrics and jsonargparse that lit-opt touches.

Nothing else in the package touches one; `tests/test_architecture.py` sees to it. Each function says
what it does, why no public name does it, the version it was written for, and what happens when the
private name is gone: the public way, slower or plainer, never an error at import. A test for each
in `tests/engine/test_lightning_private.py` fails when its name stops working.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import lightning
import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

# ---- the step: what the training step goes through ----

STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_train_batch_end",
)


def hide_idle_hooks(trainer: Any, module: pl.LightningModule) -> None:
    """Sets the hooks of a step to None in callbacks and a module that don't override them.

    Lightning calls each hook of each owner in every step, empty or not, and has no public way to
    leave some out; that it passes over one that is None is not documented. It saves 4 % of the
    MLP's step at batch 64. Lightning 2.6; in any other version nothing is hidden.
    """
    if not lightning.__version__.startswith("2.6."):
        return
    owners = [(callback, pl.Callback) for callback in trainer.callbacks]
    for owner, base in [*owners, (module, pl.LightningModule)]:
        for hook in STEP_HOOKS:
            if not is_overridden(hook, owner, base):
                setattr(owner, hook, None)


def move_logged_values_once() -> None:
    """A value that `self.log` keeps is sent to its device where it isn't there yet.

    Lightning's `_ResultMetric.to` walks through all attributes of the value in every `self.log`, a
    fifth of a millisecond, and copies what describes it. Lightning 2.6; without the name, or in
    another version, each call walks.
    """
    try:
        from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultMetric
    except ImportError:
        return
    walk: Any = _ResultMetric.to
    if not lightning.__version__.startswith("2.6.") or hasattr(walk, "__wrapped__"):
        return

    @wraps(walk)
    def to(self: Any, *args: Any, **kwargs: Any) -> Any:
        kept = [v for v in vars(self).values() if isinstance(v, torch.Tensor)]
        there = len(args) == 1 and not kwargs and self.is_tensor
        if there and all(value.device == args[0] for value in kept):
            return self
        return walk(self, *args, **kwargs)

    _ResultMetric.to = to  # type: ignore[method-assign]


class QuickHookName:
    """A base class of a LightningModule that sets `_current_fx_name` past nn.Module's tables.

    Lightning notes there, dozens of times a step, which hook it calls; nn.Module looks each time
    whether the value is a parameter, buffer or module. It saves 2.8 % of the MLP's step at batch
    64. Lightning 2.6; where it uses the name no more, nothing is different from nn.Module.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)


def step_alone(optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
    """The step of an optimizer of torch that has no hooks, without its entry in torch's profiler.

    Torch wraps each class's step in a record for torch.profiler, which takes longer than the fused
    step of a small net, and has no public way around it. Torch 2.14; where a hook is registered,
    somebody has replaced the step, or a name is gone, it is `optimizer.step`.
    """
    from torch.optim import optimizer as home

    step: Any = type(optimizer).step
    hooks = [getattr(home, f"_global_optimizer_{when}_hooks", True) for when in ("pre", "post")]
    hooks += [getattr(optimizer, f"_optimizer_step_{when}_hooks", True) for when in ("pre", "post")]
    replaced = getattr(vars(optimizer).get("step", step), "__wrapped__", None) is not step
    if any(hooks) or not getattr(step, "hooked", False) or ("step" in vars(optimizer) and replaced):
        return optimizer.step
    optimizer._opt_called = True  # type: ignore[attr-defined]  # what schedulers lay around it notes
    return partial(step.__wrapped__, optimizer)


def schedulers_within(scheduler: LRScheduler) -> list[LRScheduler]:
    """The schedulers that torch's SequentialLR or ChainedScheduler is made of, in their order.

    Torch has no public name for `_schedulers` (since 1.10). Without it a schedule behind a warm-up
    does not stop in a run that became longer, and does not follow a change of lr.
    """
    return list(getattr(scheduler, "_schedulers", []))


# ---- loading: what a loader does ----


def object_arguments(*names: str) -> list[str]:
    """The arguments that `save_hyperparameters(ignore=…)` must leave out, as they are objects.

    The command line hands Lightning the plain values that the objects were built from, in the
    context variable `_given_hyperparameters`, and they are to be kept; built in Python they are
    instances, which a checkpoint can't hold. No public name tells the two apart. Lightning 2.6;
    without it they are left out always, and must be given again to `load_from_checkpoint`.
    """
    try:
        from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters

        return list(names) if _given_hyperparameters.get() is None else []
    except (ImportError, AttributeError):
        return list(names)


def count_steps_for_loggers(trainer: Any, steps: int) -> None:
    """Adds optimizer steps that Lightning has not seen to the count that `self.log` plots over.

    Lightning adds one for each of its own batches, to `_batches_that_stepped`, also in manual
    optimization, and has no public name for it. Lightning 2.6; without it the curves of a run
    with `--steps_per_execution` are over groups.
    """
    loop = trainer.fit_loop.epoch_loop
    if hasattr(loop, "_batches_that_stepped"):
        loop._batches_that_stepped += steps


# ---- resuming: positions, counts and states ----


def set_update_count(metric: Metric, count: int) -> None:
    """Tells a metric whose state was restored how often it had been updated.

    Torchmetrics (1.9) has the public `update_count` to read only. Without `_update_count` a metric
    that is computed before its next update warns that it was never updated; its value is right.
    """
    if hasattr(metric, "_update_count"):
        metric._update_count = count


def resume_steps_like_epochs(trainer: Any) -> None:
    """A run with `--max_steps` goes on from the end of an epoch as one with `--max_epochs` does.

    Lightning takes that end for a place inside the epoch, and skips the data of the next one
    (PL#19617); no public name says otherwise. Lightning 2.6; without it that is what happens.
    """
    if hasattr(trainer.fit_loop, "_iteration_based_training"):
        trainer.fit_loop._iteration_based_training = lambda: False


def reopen_epoch(fit_loop: dict[str, Any]) -> bool:
    """Makes the state of a fit loop that was saved at the end of an epoch one of its last batch.

    So an epoch that was cut goes on. Lightning (2.6) counts it as over, and the form of the state
    in a checkpoint is not documented; where it is another one, nothing is changed: False.
    """
    try:
        batches = fit_loop["epoch_loop.batch_progress"]
        stepped = fit_loop["epoch_loop.state_dict"]
        stepped["_batches_that_stepped"] -= 1
        for period in ("total", "current"):
            fit_loop["epoch_progress"][period]["processed"] -= 1
            batches[period]["completed"] -= 1
    except (KeyError, TypeError):
        return False
    return True


@contextmanager
def stage_of_test(trainer: Any) -> Iterator[None]:
    """Within, a trainer that fits calls itself testing, so that data hooks augment nothing.

    Lightning (2.6) sets `trainer.testing` in its own loops and has no public way to run one loop
    inside another. Where it can't be set, batches go through the hooks of training.
    """
    try:
        trainer.testing = True
    except AttributeError:  # a property that became read-only
        yield
        return
    try:
        yield
    finally:
        trainer.training = True


# ---- the command line: parsers and messages ----


def is_of_sigterm(error: BaseException) -> bool:
    """Whether Lightning left by its own answer to SIGTERM, an exit of status 0.

    Lightning (2.6) does not document the class. Without it such an exit keeps its status.
    """
    try:
        from lightning.pytorch.utilities.exceptions import SIGTERMException
    except ImportError:
        return False
    return isinstance(error, SIGTERMException)


def help_with_short_names() -> type:
    """A formatter of `--help` that shows `--lr, --model.lr` for options with a short name.

    Argparse has no public way to word an option's line. Without `_format_action_invocation`
    (Python 3.11, jsonargparse 4.53) the full names are shown alone.
    """
    import re

    from jsonargparse import DefaultHelpFormatter

    class WithShortNames(DefaultHelpFormatter):
        def _format_action_invocation(self, action: Any) -> str:
            text: str = super()._format_action_invocation(action)
            match = re.match(r"--(trainer|model|data)\.(\w+)( |$)", text)
            return f"--{match[2]}, {text}" if match else text

    return WithShortNames
