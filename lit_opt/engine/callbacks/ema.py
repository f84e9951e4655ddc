"""An average of the weights is scored and kept; training goes on from the raw weights."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lit_opt.engine.base.errors import UserError


class EMA(Callback):
    """Validates, tests and keeps an exponential moving average of the weights: `--ema 0.999`.

    After every optimizer step, t = 0, 1, …, average = d·average + (1 - d)·weights with
    d = min(decay, (1 + t)/(10 + t)), which soon forgets the initial weights
    (tf.train.ExponentialMovingAverage). BatchNorm's statistics are averaged like the weights that
    they go with (timm's ModelEmaV3); integers are not averaged.

    In every checkpoint `state_dict` is the average; the raw weights, from which a continued fit
    goes on, are in this callback's state. Both stay where they are in memory, only the module's
    pointers change, so that no exception can leave one in the other's place.

    Args:
        decay: In (0, 1); the average reaches back about 1/(1 - decay) optimizer steps.
    """

    state_key = "EMA"

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise UserError(f"--ema is a decay between 0 and 1, such as 0.999, got {decay}")
        self.decay = decay
        self._trainer: Any = None  # that fits or has fitted
        self._other: list[Tensor] = []  # the average, or the raw weights while that is shown
        self._shown = False  # whether the module holds the average

    def _start(self, module: pl.LightningModule, step: int, updates: int) -> None:
        places = {
            id(weight): (owner, name)  # one place of a weight that has two owners
            for owner in module.modules()
            for named in (owner.named_parameters, owner.named_buffers)
            for name, weight in named(recurse=False)
            if weight.is_floating_point() or weight.is_complex()
        }
        self._places = places.values()
        device = self._trainer.strategy.root_device  # a checkpoint is loaded on the CPU
        self._other = [weight.detach().to(device, copy=True) for weight in self._weights()]
        self._step, self._updates = step, updates

    def _weights(self) -> list[Tensor]:
        """Looked up each time, as a module may put another tensor in a buffer's place."""
        return [getattr(module, name) for module, name in self._places]

    def _update(self) -> None:
        if not self._other or self._trainer.global_step == self._step:  # gradients accumulate
            return
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates))
        self._step, self._updates = self._trainer.global_step, self._updates + 1
        get_ema_multi_avg_fn(decay)(self._other, self._weights(), 0)  # type: ignore[no-untyped-call]

    def _show(self, average: bool) -> None:
        """Points the module's weights at the average, or back at the raw ones."""
        if self._other and average != self._shown:
            weights = self._weights()
            held = [weight.data for weight in weights]
            for weight, value in zip(weights, self._other, strict=True):
                weight.data = value
            self._other, self._shown = held, average

    @contextmanager
    def showing(self, average: bool) -> Iterator[None]:
        """Within, the module holds the average of all steps so far, or the raw weights."""
        self._update()
        before = self._shown
        self._show(average)
        try:
            yield
        finally:
            self._show(before)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Nothing is left of an earlier fit: tests and predictions score what they load."""
        self.teardown(trainer, pl_module, stage)
        self._trainer, self._other, self._shown = None, [], False
        self._step = self._updates = 0
        if stage != "fit":
            return
        if trainer.strategy.restore_checkpoint_after_setup:
            raise UserError("--ema needs all weights on every device; set --strategy auto or ddp")
        self._trainer, hook = trainer, pl_module.on_save_checkpoint

        def on_save_checkpoint(checkpoint: dict[str, Any]) -> None:
            with self.showing(average=True):
                checkpoint["state_dict"] = pl_module.state_dict()
            hook(checkpoint)

        # Lightning calls no hook of a callback for a file of weights only, but this of the module.
        vars(pl_module)["on_save_checkpoint"] = on_save_checkpoint

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        vars(pl_module).pop("on_save_checkpoint", None)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._other:
            self._start(pl_module, trainer.global_step, 0)
        if any(torch.finfo(weight.dtype).bits < 32 for weight in self._weights()):
            raise UserError(
                "--ema moves by less than weights of 16 bits can show; set --precision bf16-mixed"
            )

    def on_train_batch_end(self, *args: Any) -> None:
        self._update()

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._show(average=True)

    on_train_end = on_validation_start  # a test without a checkpoint scores the average too

    def on_validation_end(self, trainer: Any, pl_module: Any, exception: Any = None) -> None:
        self._show(average=False)

    on_exception = on_validation_end

    def state_dict(self) -> dict[str, Any]:
        if self._trainer is None:
            return {}
        with self.showing(average=False):
            raw = self._trainer.lightning_module.state_dict()
        return {"decay": self.decay, "updates": self._updates, "raw": raw}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != "fit":
            return
        check_average(trainer, checkpoint)
        state = checkpoint["callbacks"][self.state_key]
        self._start(pl_module, checkpoint["global_step"], state["updates"])
        pl_module.load_state_dict(state["raw"], strict=pl_module.strict_loading)
        if state["decay"] != self.decay:
            trainer.print(f"continuing with ema {state['decay']} -> {self.decay}")


def averaged(trainer: Any) -> AbstractContextManager[None]:
    """Within, the module holds the average, if the trainer makes one."""
    ema = next((c for c in trainer.callbacks if isinstance(c, EMA)), None)
    return ema.showing(average=True) if ema else nullcontext()


def check_average(trainer: Any, checkpoint: dict[str, Any]) -> None:
    """Raises `UserError` if a fit is continued with an average and was begun without, or v.v."""
    then = checkpoint["callbacks"].get(EMA.state_key, {}).get("decay", "null")
    now = next((c.decay for c in trainer.callbacks if isinstance(c, EMA)), "null")
    if (then == "null") != (now == "null"):
        raise UserError(
            f"the checkpoint was trained with ema {then}, now ema is {now};\n"
            f"an average can't begin or end within a run: set --ema {then}"
        )
