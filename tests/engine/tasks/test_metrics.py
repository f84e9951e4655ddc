import pytest
import torch
import torch.nn.functional as F
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lit_opt.engine.tasks.metrics import Accuracy, MeanLoss, Scores, better_direction

BATCHES = [(torch.randn(n, 5), torch.randint(5, (n,))) for n in (64, 64, 7)]


def test_accuracy_is_torchmetrics_micro_accuracy():
    ours, reference = Accuracy(), MulticlassAccuracy(5, average="micro")
    for preds, target in BATCHES:
        ours.update(preds, target)
        reference.update(preds, target)
    assert ours.compute() == reference.compute()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_accuracy_of_one_hot_and_soft_labels_is_that_of_indices(smoothing):
    hard, soft = (Scores({"acc": Accuracy()}, prefix="") for _ in range(2))
    for preds, target in BATCHES:
        hard.update(preds=preds, target=target)
        mixed = F.one_hot(target, 5) * (1 - smoothing) + smoothing / 5
        soft.update(preds=preds, target=mixed)
    assert soft.compute() == hard.compute()


def test_mean_loss_is_over_samples_not_over_batches():
    mean = MeanLoss()
    for preds, target in BATCHES:
        mean.update(F.cross_entropy(preds, target), target)
    everything = F.cross_entropy(*(torch.cat(part) for part in zip(*BATCHES, strict=True)))
    torch.testing.assert_close(mean.compute(), everything)


def test_the_metric_says_whether_more_is_better():
    scores = MetricCollection({"loss": MeanLoss(), "acc": Accuracy(), "mse": MeanSquaredError()})
    scores = scores.clone(prefix="val/")
    names = ["val/loss", "val/acc", "val/mse", "val/other"]
    assert [better_direction(scores, name) for name in names] == ["min", "max", "min", "min"]
