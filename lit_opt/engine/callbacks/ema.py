"""An average of the weights is scored and kept; training goes on from the raw weights."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lit_opt.engine.errors import UserError


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
        self._trainer: pl.Trainer | None = None  # that fits or has fitted
        self._average: list[Tensor] = []  # in the order of `_weights()`
        self._raw: list[Tensor] = []  # while the module holds the average
        self._updates = 0
        self._step = 0

    # ---- the average ----

    def _start(self, module: pl.LightningModule, step: int) -> None:
        self._places = _places(module)
        self._average = [weight.detach().clone() for weight in self._weights()]
        self._updates, self._step = 0, step

    def _weights(self) -> list[Tensor]:
        """Looked up each time, as a module may put another tensor in a buffer's place."""
        return [getattr(module, name) for module, name in self._places]

    def _update(self) -> None:
        if not self._trainer or self._trainer.global_step == self._step:  # gradients accumulate
            return
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates))
        self._step, self._updates = self._trainer.global_step, self._updates + 1
        move: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        move(self._average, self._weights(), self._updates)

    # ---- what the module holds ----

    def _put(self, values: list[Tensor]) -> list[Tensor]:
        """Points the module's weights at `values`; what it held."""
        weights = self._weights()
        held = [weight.data for weight in weights]
        for weight, value in zip(weights, values, strict=True):
            weight.data = value
        return held

    @contextmanager
    def _showing(self, values: list[Tensor]) -> Iterator[None]:
        """Within, the module holds `values`, if there are any."""
        held = self._put(values) if values else []
        try:
            yield
        finally:
            if held:
                self._put(held)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within, the module holds the average of all steps so far."""
        if self._average:
            self._update()
        with self._showing(self._average):
            yield

    # ---- a fit ----

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Nothing is left of an earlier fit: tests and predictions score what they load."""
        self.teardown(trainer, pl_module, stage)
        self._average, self._raw, self._trainer = [], [], None
        if stage != "fit":
            return
        if trainer.strategy.restore_checkpoint_after_setup:
            raise UserError("--ema needs all weights on every device; set --strategy auto or ddp")
        self._trainer, hook = trainer, pl_module.on_save_checkpoint

        def on_save_checkpoint(checkpoint: dict[str, Any]) -> None:
            with self.averaged():
                checkpoint["state_dict"] = pl_module.state_dict()
            hook(checkpoint)

        # Lightning calls no hook of a callback for a file of weights only, but this of the module.
        vars(pl_module)["on_save_checkpoint"] = on_save_checkpoint

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        vars(pl_module).pop("on_save_checkpoint", None)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._average:
            self._start(pl_module, trainer.global_step)
        devices = [weight.device for weight in self._weights()]
        self._average = [a.to(d) for a, d in zip(self._average, devices, strict=True)]
        if any(torch.finfo(a.dtype).bits < 32 for a in self._average):
            raise UserError(
                "--ema moves by less than weights of 16 bits can show; set --precision bf16-mixed"
            )

    def on_train_batch_end(self, *args: Any) -> None:
        self._update()

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self._average and not self._raw:
            self._raw = self._put(self._average)

    on_train_end = on_validation_start  # a test without a checkpoint scores the average too

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if self._raw:
            self._put(self._raw)
            self._raw = []

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.on_validation_end(trainer, pl_module)

    # ---- checkpoints ----

    def state_dict(self) -> dict[str, Any]:
        if self._trainer is None:
            return {}
        if self._average and not self._raw:
            self._update()
        with self._showing(self._raw):
            raw = self._trainer.lightning_module.state_dict()
        return {"decay": self.decay, "updates": self._updates, "raw": raw}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != "fit":
            return
        check_average(trainer, checkpoint)
        state = checkpoint["callbacks"][self.state_key]
        self._start(pl_module, checkpoint["global_step"])
        self._updates = state["updates"]
        pl_module.load_state_dict(state["raw"], strict=pl_module.strict_loading)
        if state["decay"] != self.decay:
            trainer.print(f"continuing with ema {state['decay']} -> {self.decay}")


def _places(module: nn.Module) -> list[tuple[nn.Module, str]]:
    """The owner and name of all that is averaged; a weight of two owners has two places."""
    return [
        (owner, name)
        for owner in module.modules()
        for named in (owner.named_parameters, owner.named_buffers)
        for name, weight in named(recurse=False, remove_duplicate=False)
        if weight.is_floating_point() or weight.is_complex()
    ]


def _ema_of(trainer: Any) -> EMA | None:
    return next((c for c in trainer.callbacks if isinstance(c, EMA)), None)


def averaged(trainer: pl.Trainer) -> AbstractContextManager[None]:
    """Within, the module holds the average, if the trainer makes one."""
    ema = _ema_of(trainer)
    return ema.averaged() if ema else nullcontext()


def check_average(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """Raises `UserError` if a fit is continued with an average and was begun without, or v.v."""
    state, ema = checkpoint["callbacks"].get(EMA.state_key), _ema_of(trainer)
    if bool(state) != bool(ema):
        then, now = state["decay"] if state else None, ema.decay if ema else None
        raise UserError(
            f"the checkpoint was trained with ema {then or 'null'}, now ema is {now or 'null'};\n"
            f"an average can't begin or end within a run: set --ema {then or 'null'}"
        )
