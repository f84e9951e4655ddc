"""Stops a run whose numbers have become nan or infinite before they reach weights or files."""

import math
from collections.abc import Mapping
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import LBFGS

from lit_opt.engine.callbacks.latch import Latch
from lit_opt.engine.errors import RunError

READ_EVERY = 50  # losses, after which the latch is read at the next batch
Place = tuple[int, int, int, Any]  # step, epoch, batch, each counted from 1, and lr


class StopAtNonFinite(Callback):
    """Stops a fit at the first batch (x, y) or loss that is nan or infinite; raises `RunError`.

    On a CPU both are looked at in every step, before the update. On a GPU the updates are voided on
    the device from that step on (`lit_opt/latch.py`), and it is named when the device is waited for
    anyway: at a validation, a checkpoint, the end of an epoch; after 50 steps at the latest.

    A finite loss can have infinite gradients, and a bad batch spoils running means before its loss
    is known. So all that a checkpoint would hold is looked at before it is written, and before a
    validation.

    Let pass are gradients that a GradScaler skips and infinite losses that the line search of LBFGS
    tries. A batch of another form than (x, y) shows in its loss only.

    Args:
        per_step: Whether the host reads every loss. Default: on a CPU. Several processes never do:
            one that stopped alone would leave the others waiting.
    """

    def __init__(self, per_step: bool | None = None) -> None:
        self.per_step = per_step
        self._latch: Latch | None = None
        self._places: list[Place] = []  # of the losses since the last reading
        self._batch, self._inputs_seen = 0, False
        self._never_finite: set[str] | None = None  # a mask of -inf, for one

    def on_train_start(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        self._never_finite = nonfinite(pl_module.state_dict())
        self._places, self._latch = [], None
        device, shared = trainer.strategy.root_device, trainer.world_size > 1
        per_step = device.type == "cpu" if self.per_step is None else self.per_step
        if shared or not per_step:
            scaled = trainer.scaler is not None
            self._latch = Latch(device, trainer.optimizers, scaled, shared)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if len(self._places) >= READ_EVERY:
            self._read(trainer, pl_module)
        floats = _floats(batch)
        self._batch, self._inputs_seen = batch_idx, floats is not None
        for name, part in (floats or {}).items():
            if self._latch:
                self._latch.look_at_inputs(part)
            # The sum takes a thirtieth of the time of looking at each number.
            elif not math.isfinite(part.sum(dtype=torch.float32).item()):
                bad = (~part.isfinite()).reshape(len(part), -1).any(1).nonzero().flatten()
                if len(bad):
                    rows = ", ".join(map(str, bad[:5].tolist()))
                    what = f"{name} of the batch's samples {rows}"
                    _stop_at_inputs(trainer, self._place(trainer), what)

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        loss = loss.detach().sum() if loss.dim() else loss.detach()
        if self._latch:
            self._places.append(self._place(trainer))
            self._latch.look_at_loss(loss.clamp(-1, 1) if _tries(trainer) else loss)
        elif not math.isfinite(loss.item()) and not (loss.isinf() and _tries(trainer)):
            self._stop_at_loss(trainer, pl_module, self._place(trainer), f"{loss.item()}")

    def _place(self, trainer: Any) -> Place:
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        return trainer.global_step + 1, trainer.current_epoch + 1, self._batch + 1, lr

    def _read(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        """Raises if the latch is shut."""
        if self._latch and self._places:
            looks, inputs = self._latch.read()
            if looks:
                place = self._places[-looks]
                if inputs:
                    _stop_at_inputs(trainer, place, "the batch")
                self._stop_at_loss(trainer, pl_module, place, "nan or inf")
            self._places = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._read(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._read(trainer, pl_module)
            self._check(trainer, pl_module.state_dict())

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._read(trainer, pl_module)
        self._check(trainer, checkpoint["state_dict"])

    def _check(self, trainer: Any, tensors: Mapping[str, Any]) -> None:
        if self._never_finite is None:  # not training yet
            return
        names = nonfinite(tensors) - self._never_finite
        if names:
            _, epoch, _, lr = self._place(trainer)
            _fail(
                trainer,
                f"{min(names)} is nan or inf after step {trainer.global_step} "
                f"(epoch {epoch}, lr {lr:g}), though the losses were finite;\n"
                "--detect_anomaly true names the operation with infinite gradients; "
                f"or {_remedy(trainer)}\n"
                "earlier checkpoints are as they were",
            )

    def _stop_at_loss(
        self, trainer: Any, pl_module: pl.LightningModule, place: Place, value: str
    ) -> NoReturn:
        weights = nonfinite(dict(pl_module.named_parameters())) - (self._never_finite or set())
        why = "its inputs are finite; " if self._inputs_seen else ""
        if weights:
            why = f"{min(weights)} was not finite before it; "
        _fail(trainer, f"the loss is {value} at {_words(place)}\n{why}{_remedy(trainer)}")


def nonfinite(tensors: Mapping[str, Any]) -> set[str]:
    """The names of the float tensors with a nan or inf.

    Sums first: they take a twentieth of the time of looking at each number.
    """
    floats = {k: t for k, t in tensors.items() if isinstance(t, Tensor) and t.is_floating_point()}
    sums = [t.detach().sum(dtype=torch.float32) for t in floats.values()]
    if not sums or math.isfinite(sum(s.to(sums[0].device) for s in sums)):
        return set()
    return {name for name, t in floats.items() if not t.isfinite().all()}


def _floats(batch: Any) -> dict[str, Tensor] | None:
    """The float tensors of a batch (x, y); None for one of another form."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        return None
    pairs = zip("xy", batch, strict=True)
    return {k: t for k, t in pairs if isinstance(t, Tensor) and t.is_floating_point()}


def _tries(trainer: Any) -> bool:
    """Whether infinite losses are met by trying, and left again."""
    return any(isinstance(optimizer, LBFGS) for optimizer in trainer.optimizers)


def _words(place: Place) -> str:
    step, epoch, batch, lr = place
    return f"step {step} (epoch {epoch}, batch {batch}, lr {lr:g}); this update was not made"


def _stop_at_inputs(trainer: Any, place: Place, what: str) -> NoReturn:
    _fail(
        trainer,
        f"{what} is nan or inf at {_words(place)}\n"
        "the data is at fault, or what is done to a batch: see --dataset, --data_dir",
    )


def _remedy(trainer: Any) -> str:
    full = trainer.precision in ("32-true", "64-true")
    return "lower --lr, or set --gradient_clip_val 1" + ("" if full else ", --precision 32-true")


def _fail(trainer: Any, text: str) -> NoReturn:
    if trainer.is_global_zero:
        raise RunError(text)
    # All processes stop here, and one tells why: unless Lightning kills it, as it does where one
    # that it started exits with 1.
    raise SystemExit(0 if trainer.local_rank else 1)
