"""Stops a run whose numbers have become nan or infinite before they reach a file."""

import math
from collections.abc import Mapping
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import LBFGS

from lit_opt.engine.base.errors import RunError

READ_EVERY = 50  # losses after which the history is read at the next batch


class StopAtNonFinite(Callback):
    """Stops a fit at the first batch (x, y) or loss that is nan or infinite; raises `RunError`.

    One process on a CPU looks at both in every step, before the update is made. Elsewhere reading a
    number would make the host wait: losses and sums of the inputs are kept on the device and read
    every 50 steps, before a validation, at the end of an epoch and before a checkpoint is written.
    All processes read at the same steps and stop together.

    A finite loss can have infinite gradients, and a bad batch spoils running means before its loss
    is known. So weights, buffers and the state of the optimizer are looked at before a validation
    and before a checkpoint is written. Checkpoints written earlier stay as they are.

    Gradients that a GradScaler skips and infinite losses that the line search of LBFGS tries don't
    stop a run. A batch of another form than (x, y) shows in its loss only.

    Args:
        per_step: Whether the host reads every loss. Default: on a CPU. Several processes never do.
    """

    def __init__(self, per_step: bool | None = None) -> None:
        self.per_step = per_step
        self._history: list[tuple[str, Tensor, Tensor]] = []  # place, loss () and sum of inputs ()
        self._never_finite: set[str] | None = None  # a mask of -inf, for one

    def on_train_start(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        self._history = []
        self._never_finite = nonfinite(_all_state(trainer, pl_module))
        on_cpu = trainer.strategy.root_device.type == "cpu"
        wanted = on_cpu if self.per_step is None else self.per_step
        self._each_step = wanted and trainer.world_size == 1
        self._nothing = torch.zeros((), device=trainer.strategy.root_device)

    def on_train_batch_start(
        self, trainer: Any, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if len(self._history) >= READ_EVERY:
            self._read(trainer, pl_module)
        self._group = getattr(batch, "loader", None)  # with --steps_per_execution above 1
        self._batch_idx, self._floats = batch_idx, _floats_of(batch)
        # A sum takes a thirtieth of the time of looking at each number.
        sums = [part.sum(dtype=torch.float32) for part in (self._floats or {}).values()]
        self._inputs = sum(sums[1:], start=sums[0]) if sums else self._nothing

    def on_before_backward(self, trainer: Any, pl_module: pl.LightningModule, loss: Tensor) -> None:
        loss = loss.detach().sum() if loss.dim() else loss.detach()
        if self._each_step and math.isfinite(loss + self._inputs):
            return
        self._history.append((self._place(trainer), loss, self._inputs))
        if self._each_step:
            self._read(trainer, pl_module)

    def _place(self, trainer: Any) -> str:
        batch = self._group.batch if self._group else self._batch_idx + 1
        epoch = trainer.current_epoch + 1
        return f"step {trainer.global_step + 1} (epoch {epoch}, batch {batch}, lr {_lr(trainer)})"

    def _read(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        """Reads the history of all processes; raises at the first number that is not finite."""
        history, self._history = self._history, []
        if not history:
            return
        places, losses, inputs = zip(*history, strict=True)
        tried = any(isinstance(o, LBFGS) for o in trainer.optimizers)  # infinite, and left again
        bad_losses = torch.stack(losses).isnan() if tried else ~torch.stack(losses).isfinite()
        bad = torch.stack((bad_losses, ~torch.stack(inputs).isfinite())).float()  # (2, N)
        bad = trainer.strategy.reduce(bad, reduce_op="sum")
        when = f"read after step {trainer.global_step}"
        for place, loss, bad_loss, bad_inputs in zip(places, losses, *bad.tolist(), strict=True):
            place += f"; {'this update was not made' if self._each_step else when}"
            if bad_inputs:
                self._stop_at_inputs(trainer, place)
            if bad_loss:
                value = loss.item() if self._each_step else "nan or inf"
                why = self._why(pl_module) + _advice(trainer)
                _stop_run(trainer, f"the loss is {value} at {place}\n{why}")

    def _stop_at_inputs(self, trainer: Any, place: str) -> None:
        what = "the batch"
        if self._each_step:  # the batch is still there, and finite numbers may have an infinite sum
            rows = {name: _bad_rows(part) for name, part in (self._floats or {}).items()}
            name = next(filter(rows.get, rows), None)
            if name is None:
                return
            what = f"{name} of the batch's samples {', '.join(map(str, rows[name][:5]))}"
        _stop_run(
            trainer,
            f"{what} is nan or inf at {place}\n"
            "the data is at fault, or what is done to a batch: see --dataset, --data_dir",
        )

    def _why(self, module: pl.LightningModule) -> str:
        if self._each_step:
            spoilt = nonfinite(dict(module.named_parameters())) - (self._never_finite or set())
            if spoilt:
                return f"{min(spoilt)} was not finite before it; "
        return "" if self._floats is None else "its inputs are finite; "

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._read(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._read(trainer, pl_module)
            self._check_state(trainer, _all_state(trainer, pl_module))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._read(trainer, pl_module)
        self._check_state(trainer, _all_state(trainer, pl_module) | checkpoint["state_dict"])

    def _check_state(self, trainer: Any, tensors: Mapping[str, Any]) -> None:
        if self._never_finite is None:  # not training yet
            return
        names = nonfinite(tensors) - self._never_finite
        count = torch.tensor(float(len(names)), device=trainer.strategy.root_device)
        if trainer.strategy.reduce(count, reduce_op="sum"):
            name = min(names, default="a number of another process")
            epoch = trainer.current_epoch + 1
            _stop_run(
                trainer,
                f"{name} is nan or inf after step {trainer.global_step} "
                f"(epoch {epoch}, lr {_lr(trainer)}), though the losses were finite;\n"
                "--detect_anomaly true names the operation with infinite gradients; "
                f"or {_advice(trainer)}\n"
                "earlier checkpoints are as they were",
            )


def nonfinite(tensors: Mapping[str, Any]) -> set[str]:
    """The names of the float tensors with a nan or inf.

    Sums first: they take a twentieth of the time of looking at each number.
    """
    floats = {k: t for k, t in tensors.items() if isinstance(t, Tensor) and t.is_floating_point()}
    sums = [t.detach().sum(dtype=torch.float32) for t in floats.values()]
    if not sums or math.isfinite(sum(s.to(sums[0].device) for s in sums)):
        return set()
    return {name for name, t in floats.items() if not t.isfinite().all()}


def _all_state(trainer: Any, module: pl.LightningModule) -> dict[str, Any]:
    """Weights and buffers, and what the optimizers keep for each weight."""
    state = dict(module.state_dict())
    names = {weight: name for name, weight in module.named_parameters()}
    for optimizer in trainer.optimizers:
        for weight, kept in optimizer.state.items():
            of = names.get(weight, "a weight")
            state |= {f"the optimizer's {key} of {of}": value for key, value in kept.items()}
    return state


def _floats_of(batch: Any) -> dict[str, Tensor] | None:
    """The float tensors of a batch (x, y); None for one of another form."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        return None
    pairs = zip("xy", batch, strict=True)
    return {k: t for k, t in pairs if isinstance(t, Tensor) and t.is_floating_point()}


def _bad_rows(part: Tensor) -> list[int]:
    """The samples of `part` (B, …) that hold a nan or inf."""
    rows: list[int] = (~part.isfinite()).reshape(len(part), -1).any(1).nonzero().flatten().tolist()
    return rows


def _lr(trainer: Any) -> str:
    return f"{trainer.optimizers[0].param_groups[0].get('lr', math.nan):g}"


def _advice(trainer: Any) -> str:
    full = trainer.precision in ("32-true", "64-true")
    return "lower --lr, or set --gradient_clip_val 1" + ("" if full else ", --precision 32-true")


def _stop_run(trainer: Any, text: str) -> NoReturn:
    if trainer.is_global_zero:
        raise RunError(text)
    # All processes stop here, and one tells why: unless Lightning kills it, as it does where one
    # that it started exits with 1.
    raise SystemExit(0 if trainer.local_rank else 1)
