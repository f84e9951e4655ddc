"""Which loop was running when a run failed."""

from typing import Any

from lightning.pytorch.callbacks import Callback


class StageAtException(Callback):
    """Keeps the stage that Lightning forgets before the exception arrives.

    `stage` is "train", "validate", "sanity_check", "test" or "predict"; None where no batch had
    been begun, or nothing has failed.
    """

    stage: str | None = None

    def on_exception(self, trainer: Any, *args: Any) -> None:
        stage = trainer.state.stage
        begun = trainer.fit_loop.epoch_loop.batch_progress.total.started
        self.stage = None if stage == "train" and not begun else stage and str(stage.value)
