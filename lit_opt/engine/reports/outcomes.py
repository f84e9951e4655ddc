"""What the net said of the samples that it is scored on at the end, for the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl
import torch.distributed
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lit_opt.engine.base.errors import warn
from lit_opt.engine.base.targets import Classes, DenseClasses, MultiLabel, NextToken, Regression
from lit_opt.engine.reports.class_outcomes import ClassOutcomes
from lit_opt.engine.reports.label_outcomes import LabelOutcomes
from lit_opt.engine.reports.mask_outcomes import MaskOutcomes
from lit_opt.engine.reports.number_outcomes import NumberOutcomes
from lit_opt.engine.reports.samples import Samples
from lit_opt.engine.reports.token_outcomes import TokenOutcomes
from lit_opt.engine.runs.atomic_file import write_text
from lit_opt.engine.tasks.metrics import Scores

OUTCOMES = "outcomes.json"


class OutcomesOfKind(Protocol):
    """How the outcomes of one kind of targets are collected; the page shows them by `kind`."""

    kind: str

    def __init__(self, targets: Any, names: list[str] | None) -> None: ...

    def add(self, preds: Tensor, target: Tensor) -> None:
        """Of a batch, on its device, as `Scores.update` is given them."""

    def state(self) -> Any:
        """Of this process, on the CPU."""

    def summary(self, states: list[Any], samples: Samples) -> dict[str, Any]:
        """Plain values for outcomes.json; `states` are those of all processes by rank."""


# The nearest class of a kind of targets decides; one that has none here shows its curves only.
KINDS: dict[type, type[OutcomesOfKind]] = {
    Classes: ClassOutcomes,
    MultiLabel: LabelOutcomes,
    Regression: NumberOutcomes,
    DenseClasses: MaskOutcomes,
    NextToken: TokenOutcomes,
}


class Outcomes(Callback):
    """Writes `outcomes.json`: what the net said in the last validation, or test if there is none.

    It is that of the best checkpoint at the end of a fit, or of the command `validate`; nothing is
    collected while a fit trains. The module's scores are asked for what they are given, so a
    LightningModule without `val_scores` has none.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.collected: OutcomesOfKind | None = None
        self.failed = False

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._listen(trainer, pl_module, "val")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._write(trainer, pl_module, "val")

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        if not _is_of_validation(self.folder / OUTCOMES):
            self._listen(trainer, pl_module, "test")

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        self._write(trainer, pl_module, "test")

    def _listen(self, trainer: pl.Trainer, module: Any, split: str) -> None:
        scores = getattr(module, f"{split}_scores", None)
        data = trainer.datamodule  # type: ignore[attr-defined]
        targets = getattr(data, "targets", None)
        kinds = [KINDS[c] for c in type(targets).__mro__ if c in KINDS]
        wanted = trainer.state.fn != "fit" and kinds and not self.failed
        if wanted and isinstance(scores, Scores):
            self.collected = kinds[0](targets, getattr(data, "class_names", None))
            scores.watch = self._add

    def _add(self, preds: Tensor, target: Tensor) -> None:
        if self.collected is not None:
            try:
                self.collected.add(preds.detach(), target)
            except Exception as error:  # a step of the user's has given something else
                self._give_up(error)

    def _write(self, trainer: pl.Trainer, module: Any, split: str) -> None:
        scores: Any = getattr(module, f"{split}_scores", None)
        if isinstance(scores, Scores):
            scores.watch = None
        if trainer.state.fn == "fit":
            return
        states = _of_all(trainer, self._state())
        collected, self.collected = self.collected, None
        if not trainer.is_global_zero or collected is None or None in states:
            return
        try:
            point = trainer.ckpt_path
            of = Path(str(point)).name if point else "the last weights"
            about = {"kind": collected.kind, "split": split, "of": of}
            kept = about | collected.summary(states, _samples_of(trainer, module, split))
            write_text(self.folder / OUTCOMES, json.dumps(kept) + "\n")
        except Exception as error:
            self._give_up(error)

    def _state(self) -> Any:
        try:
            return self.collected.state() if self.collected else None
        except Exception as error:  # such as of no batch at all
            self._give_up(error)
        return None

    def _give_up(self, error: Exception) -> None:
        self.collected, self.failed = None, True
        told = " ".join(str(error).split())
        warn(f"the report will show no outcomes: {type(error).__name__}: {told}")


def _samples_of(trainer: Any, module: Any, split: str) -> Samples:
    loaders = trainer.val_dataloaders if split == "val" else trainer.test_dataloaders
    loader = loaders[0] if isinstance(loaders, list) else loaders
    net = module if trainer.world_size == 1 else None
    return Samples(loader, trainer.datamodule, split, net, trainer.strategy.root_device)


def _of_all(trainer: pl.Trainer, state: Any) -> list[Any]:
    states = [state] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(states, state)
    return states


def _is_of_validation(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_bytes())["split"] == "val")
    except (OSError, ValueError, KeyError, TypeError):
        return False
