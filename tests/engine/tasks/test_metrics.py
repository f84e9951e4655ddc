from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torchmetrics import (
    ClasswiseWrapper,
    MeanAbsoluteError,
    MeanMetric,
    MeanSquaredError,
    MinMaxMetric,
)
from torchmetrics.classification import (
    BinaryAUROC,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassEER,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassSpecificity,
)
from torchmetrics.segmentation import MeanIoU

from lit_opt.engine.base.targets import DenseClasses, MultiLabel
from lit_opt.engine.tasks.metrics import Accuracy, MeanLoss, Scores, better_direction

BATCHES = [(torch.randn(n, 5), torch.randint(5, (n,))) for n in (64, 64, 7)]


@pytest.mark.parametrize("smoothing", [None, 0.0, 0.2])
def test_accuracy_is_torchmetrics_micro_accuracy(smoothing):
    """Of indices, of one-hot and of soft labels."""
    ours, reference = Scores({"acc": Accuracy()}, ""), MulticlassAccuracy(5, average="micro")
    for preds, target in BATCHES:
        soft = F.one_hot(target, 5) * (1 - (smoothing or 0)) + (smoothing or 0) / 5
        ours.update(preds, target if smoothing is None else soft)
        reference.update(preds, target)
    assert ours.compute()["acc"] == reference.compute()


def test_mean_loss_is_over_samples_not_over_batches():
    mean = MeanLoss()
    for preds, target in BATCHES:
        mean.update(F.cross_entropy(preds, target), target)
    everything = F.cross_entropy(*(torch.cat(part) for part in zip(*BATCHES, strict=True)))
    torch.testing.assert_close(mean.compute(), everything)


def test_the_metric_says_whether_more_is_better():
    metrics = {"loss": MeanLoss(), "acc": Accuracy(), "mse": MeanSquaredError()}
    metrics["each"] = ClasswiseWrapper(MulticlassF1Score(5, average=None))
    metrics |= {"best": MinMaxMetric(MeanAbsoluteError()), "spec": MulticlassSpecificity(5)}
    metrics["eer"] = MulticlassEER(5)
    scores = Scores(metrics, prefix="val/")
    larger = {"val/acc", "val/each/cat", "val/each", "val/spec", "val/spec/cat"}
    smaller = {"val/loss", "val/mse", "val/other", "val/best/raw", "val/eer", "val/accc"}
    assert {name: better_direction(scores, name) for name in larger | smaller} == {
        **dict.fromkeys(larger, "max"),
        **dict.fromkeys(smaller, "min"),
    }


def test_a_metric_that_does_not_say_whether_more_is_better_is_told_once(capsys):
    scores = Scores({"own": MeanMetric(), "loss": MeanLoss()}, prefix="val/")
    assert [better_direction(scores, name) for name in ("val/own", "val/own", "val/loss")] == [
        "min"
    ] * 3
    assert capsys.readouterr().err.count("MeanMetric doesn't say whether more is better") == 1


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_label_is_among_the_k_largest(k):
    ours, reference = Accuracy(k), MulticlassAccuracy(5, average="micro", top_k=k)
    for preds, target in BATCHES:
        ours.update(preds, target)
        reference.update(preds, target)
    assert ours.compute() == reference.compute()


@pytest.mark.parametrize("size", [1, 64, 512])
def test_binary_metrics_take_one_output_or_two_classes(size):
    """Also where the logits of a batch all look like probabilities."""
    logits = torch.rand(300, 2)
    target = (logits[:, 1] + torch.randn(300) > 0.5).long()
    two = Scores({"auroc": BinaryAUROC()}, "")
    one = Scores({"auroc": BinaryAUROC()}, "")
    one.follow(MultiLabel(), None)
    for z, y in zip(logits.split(size), target.split(size), strict=True):
        two.update(preds=z, target=y)
        one.update(preds=z[:, 1:] - z[:, :1], target=y[:, None].float())
    expected = roc_auc_score(target, logits[:, 1] - logits[:, 0])
    assert float(two.compute()["auroc"]) == pytest.approx(expected)
    assert float(one.compute()["auroc"]) == pytest.approx(expected)


def test_mean_iou_leaves_out_what_is_ignored():
    preds, target = torch.randn(6, 3, 4, 4), torch.randint(3, (6, 4, 4))
    target[:, 0] = -100
    scores = Scores({"iou": MeanIoU(3)}, "")
    scores.follow(DenseClasses(), None)
    scores.update(preds=preds, target=target)
    reference = MeanIoU(3, input_format="index")
    reference.update(preds[:, :, 1:].argmax(1), target[:, 1:])
    torch.testing.assert_close(scores.compute()["iou"], reference.compute())


@pytest.mark.parametrize("shape", [(30,), (6, 5, 4)])
@pytest.mark.parametrize(
    "metric",
    [
        MulticlassF1Score(3, average=None),
        MulticlassF1Score(3, top_k=2, average=None),
        MulticlassJaccardIndex(3, ignore_index=1, average=None),
        MulticlassConfusionMatrix(3, ignore_index=1),
    ],
)
def test_metrics_of_classes_are_those_of_the_probabilities(metric, shape):
    logits = torch.randn(shape[0], 3, *shape[1:])
    y = torch.randint(3, shape)
    scores = Scores({"m": deepcopy(metric)}, prefix="")
    scores.update(preds=logits, target=y)
    metric.update(logits.softmax(1), y)
    counted = next(iter(scores.values())).compute()
    assert counted.equal(metric.compute())
