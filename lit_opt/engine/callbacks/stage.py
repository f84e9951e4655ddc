"""Which loop was running when a run failed."""

from typing import Any

from lightning.pytorch.callbacks import Callback


class StageAtException(Callback):
    """Keeps the stage, which Lightning forgets before the exception arrives."""

    stage: str | None = None
    """train, validate, sanity_check, test or predict; None before a first batch or failure."""

    def on_exception(self, trainer: Any, *args: Any) -> None:
        stage = trainer.state.stage
        begun = trainer.fit_loop.epoch_loop.batch_progress.total.started
        self.stage = None if stage == "train" and not begun else stage and str(stage.value)
