import pytest
import torch
import torch.nn.functional as F
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lit_opt.engine.tasks.metrics import Accuracy, MeanLoss, better_direction

BATCHES = [(torch.randn(n, 5), torch.randint(5, (n,))) for n in (64, 64, 7)]


@pytest.mark.parametrize("smoothing", [None, 0.0, 0.2])
def test_accuracy_is_torchmetrics_micro_accuracy(smoothing):
    """Of indices, of one-hot and of soft labels."""
    ours, reference = Accuracy(), MulticlassAccuracy(5, average="micro")
    for preds, target in BATCHES:
        soft = F.one_hot(target, 5) * (1 - (smoothing or 0)) + (smoothing or 0) / 5
        ours.update(preds, target if smoothing is None else soft)
        reference.update(preds, target)
    assert ours.compute() == reference.compute()


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
