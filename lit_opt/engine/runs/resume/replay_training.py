"""Training on a user's own loaders goes on where it was, with the same order and random numbers."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from lit_opt.engine.base.errors import warn
from lit_opt.engine.loading.loader import LazyLoader
from lit_opt.engine.loading.replayed_loader import ReplayedLoader
from lit_opt.engine.runs.resume.training_state import epoch_ends, is_cut


class ReplayTraining(Callback):
    """Wraps every training loader that is not the engine's in a `ReplayedLoader`.

    Their positions are in this callback's state: Lightning restores a loader's own state only if
    nobody has asked for the loader before, as a scheduler that fits the run does.
    """

    state_key = "ReplayTraining"

    def __init__(self) -> None:
        self._loaders: list[ReplayedLoader] = []
        self._positions: Sequence[Mapping[str, Any]] = ()  # of a checkpoint

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._loaders = []
        if stage != "fit":
            return
        strategy: Any = trainer.strategy
        process = type(strategy).process_dataloader

        def process_dataloader(loader: Any) -> Any:
            return process(strategy, self._wrapped(loader, trainer))

        # The only public place that every loader passes, with Lightning's own sampler in it.
        strategy.process_dataloader = process_dataloader

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        vars(trainer.strategy).pop("process_dataloader", None)

    def _wrapped(self, loader: Any, trainer: Any) -> Any:
        if not trainer.training or isinstance(loader, LazyLoader):
            return loader
        if any(known.epoch >= 0 for known in self._loaders):  # loaders that are now replaced
            self._loaders, self._positions = [], ()
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # set by seed_everything
        epoch = partial(_epoch_of, trainer)
        place = self._positions[len(self._loaders) :][:1]
        self._loaders.append(ReplayedLoader(loader, seed, trainer.global_rank, epoch, *place))
        return self._loaders[-1]

    def on_train_start(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        inside = trainer.fit_loop.restarted_mid_epoch
        if inside and not all(self._positions and loader.goes_on for loader in self._loaders):
            warn(
                "the training data can't say where it was: it begins anew at step "
                f"{trainer.global_step}, steps and epochs are counted on;\n"
                "a data set or loader with state_dict and load_state_dict would go on"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"positions": [loader.position() for loader in self._loaders]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._positions = state_dict["positions"]


def _epoch_of(trainer: Any) -> int:
    epoch: int = trainer.fit_loop.epoch_progress.current.processed
    return epoch - (epoch_ends(trainer) and is_cut(trainer))
