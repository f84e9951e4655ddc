"""The tutorial's three loops and its optimizer as a LightningModule. Read this file first."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lit_opt.engine.lightning_private import object_arguments
from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import Plan, plan_of
from lit_opt.engine.optim.schedulers import build_schedulers
from lit_opt.engine.tasks.loss_on_logits import OnLogits
from lit_opt.engine.tasks.metrics import MeanLoss, Scores, follow_data
from lit_opt.engine.tasks.metrics_by_name import build_metrics
from lit_opt.engine.tasks.short_step import ShortStepModule


class LitModule(ShortStepModule):
    """One net with its loss, metrics, optimizer and scheduler, whatever the targets are.

    To change what happens to a batch, subclass and override `step()`.

    Args:
        net: Maps x (B, C, H, W) to logits (B, num_classes); of models.py, or a class path.
        loss: A loss of torch.nn by name (nll, mse, CrossEntropyLoss), or a path to a callable.
        metrics: Of torchmetrics by name, such as [auroc, f1, acc]; arguments: --metrics.f1.KEY.
            Each gives train/NAME, val/NAME and test/NAME. Default: acc; --metrics+=f1 adds to it.
        optimizer: An optimizer of torch.optim by name, its arguments as --optimizer.KEY; no_decay
            true leaves biases and norms out of weight decay.
        lr: Learning rate, whatever the optimizer; the peak where a scheduler moves it.
        lr_factors: Factors of lr for parts of the module, such as {net.backbone: 0.1}. Default: 1.
        scheduler: One of torch.optim.lr_scheduler, fitted to the run; arguments: --scheduler.KEY.
        scheduler_interval: Unit in which the scheduler counts. Default: as it suits the scheduler.
        warmup: Fraction of all optimizer steps over which lr rises linearly from 0, in [0, 1).
        monitor: Validation metric that selects the best checkpoint and drives ReduceLROnPlateau.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module | Callable[..., Any] = F.cross_entropy,
        metrics: dict[str, Any] | None = None,
        optimizer: dict[str, Any] | str = "AdamW",
        lr: float = 1e-3,
        lr_factors: dict[str, float] | None = None,
        scheduler: dict[str, Any] | str | None = None,
        scheduler_interval: str | None = None,
        warmup: float = 0.0,
        monitor: str = "val/loss",
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=object_arguments("net", "loss", "metrics"))
        self.net, self.lr = net, lr
        self.loss = OnLogits(loss)
        metrics = {"loss": MeanLoss(self.loss.is_sum), **build_metrics(metrics)}
        self.train_scores = Scores(deepcopy(metrics), prefix="train/")
        self.val_scores = Scores(deepcopy(metrics), prefix="val/")
        self.test_scores = Scores(deepcopy(metrics), prefix="test/")

    def setup(self, stage: str) -> None:
        """Loss and metrics follow what the data declares its targets to be."""
        follow_data(self.trainer, self.loss, self.train_scores, self.val_scores, self.test_scores)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def step(self, batch: tuple[Tensor, Tensor], scores: Scores) -> Tensor:
        """The loss () of a batch, in training, validation and test; `scores` counts it."""
        x, y = batch  # what they hold is stated in lit_opt/datamodule.py
        logits = self(x)  # (B, C, H, W) -> (B, num_classes)
        loss = self.loss(logits, y)  # ()
        scores.update(loss=loss, preds=logits, target=y, loss_weight=self.loss.weight_of(y))
        return loss

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.step(batch, self.train_scores)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.step(batch, self.val_scores)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.step(batch, self.test_scores)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self(batch[0])

    def on_train_epoch_end(self) -> None:
        self.log_scores(self.train_scores)

    def on_validation_epoch_end(self) -> None:
        self.log_scores(self.val_scores)

    def on_test_epoch_end(self) -> None:
        self.log_scores(self.test_scores)

    def log_scores(self, scores: Scores) -> None:
        # Equal on all processes, since torchmetrics has added up their counts.
        self.log_dict(scores.compute(), sync_dist=True, reduce_fx="max")
        scores.reset()

    def configure_optimizers(self) -> Any:
        return self.optimizers_for(plan_of(self.trainer))

    def optimizers_for(self, plan: Plan) -> Any:
        """The optimizer, and the schedulers for a training of that length."""
        hp: Any = self.hparams
        optimizer = build_optimizer(hp.optimizer, self, self.lr, plan.may_fuse, hp.lr_factors)
        fitted = plan, hp.warmup, hp.scheduler_interval, *self.best_by()
        return [optimizer], build_schedulers(hp.scheduler, optimizer, *fitted)
