"""The tutorial's three loops and its optimizer as a LightningModule. Read this file first."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from lit_opt.engine.optim.schedulers import build_optimizer, build_schedulers
from lit_opt.engine.tasks.hparams import objects
from lit_opt.engine.tasks.lean import LeanModule
from lit_opt.engine.tasks.loss_on_logits import OnLogits
from lit_opt.engine.tasks.metrics import Accuracy, MeanLoss, Scores, better

Batch = tuple[Tensor, Tensor]  # the batch contract is in lit_opt/data/__init__.py


class LitModule(LeanModule):
    """One net with its loss, metrics, optimizer and scheduler; classification and regression alike.

    To change what happens to a batch, subclass and override `._step()`.

    Args:
        net: Maps x (B, C, H, W) to logits (B, num_classes); of lit_opt.models, or a class path.
        loss: A loss of torch.nn by name (nll, mse, CrossEntropyLoss), or a path to a callable.
        metrics: torchmetrics by name; each gives train/NAME, val/NAME and test/NAME. Default: acc.
        optimizer: An optimizer of torch.optim by name, its arguments as --optimizer.KEY.
        lr: Learning rate, whatever the optimizer; the peak where a scheduler moves it.
        scheduler: One of torch.optim.lr_scheduler by name, its arguments as --scheduler.KEY; the
            horizon (total_steps, T_max, …) is the planned number of steps.
        scheduler_interval: Unit in which the scheduler counts. Default: as it suits the scheduler.
        warmup: Fraction of all optimizer steps over which lr rises linearly from 0, in [0, 1).
        monitor: Validation metric that selects the best checkpoint and drives ReduceLROnPlateau.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module | Callable[..., Any] = F.cross_entropy,
        metrics: dict[str, Metric] | None = None,
        optimizer: dict[str, Any] | str = "AdamW",
        lr: float = 1e-3,
        scheduler: dict[str, Any] | str | None = None,
        scheduler_interval: str | None = None,
        warmup: float = 0.0,
        monitor: str = "val/loss",
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=objects("net", "loss", "metrics"))
        self.net = net
        self.loss = OnLogits(loss)
        self.lr = lr
        metrics = {"acc": Accuracy()} if metrics is None else metrics
        metrics = {"loss": MeanLoss(self.loss.is_sum), **metrics}
        self.train_scores = Scores(deepcopy(metrics), prefix="train/")
        self.val_scores = Scores(deepcopy(metrics), prefix="val/")
        self.test_scores = Scores(deepcopy(metrics), prefix="test/")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def _step(self, batch: Batch, scores: Scores) -> Tensor:
        x, y = batch
        outputs = self(x)  # (B, num_classes)
        loss = self.loss(outputs, y)  # ()
        scores.update(loss=loss, preds=outputs, target=y)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, self.train_scores)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, self.val_scores)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, self.test_scores)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, _ = batch
        return self(x)

    def on_train_epoch_end(self) -> None:
        self._log_scores(self.train_scores)

    def on_validation_epoch_end(self) -> None:
        self._log_scores(self.val_scores)

    def on_test_epoch_end(self) -> None:
        self._log_scores(self.test_scores)

    def _log_scores(self, scores: Scores) -> None:
        self.log_dict(scores.compute())
        scores.reset()

    def configure_optimizers(self) -> Any:
        return self.optimizers_for(self.planned_steps, self.trainer.max_epochs or -1)

    def optimizers_for(self, total_steps: float, max_epochs: int) -> Any:
        """The optimizer, and the scheduler for a training of `total_steps` optimizer steps."""
        hp: Any = self.hparams
        optimizer = build_optimizer(hp.optimizer, self, self.lr, self.may_fuse)
        schedulers = build_schedulers(
            hp.scheduler,
            optimizer,
            self.lr,
            total_steps,
            max_epochs,
            hp.warmup,
            hp.monitor,
            hp.scheduler_interval,
            better(self.val_scores, hp.monitor),
            self.validate_every,
        )
        return [optimizer], schedulers
