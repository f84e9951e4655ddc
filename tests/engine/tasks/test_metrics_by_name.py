"""Names and arguments as a user writes them, for each task."""

from types import SimpleNamespace

import pytest
from torchmetrics import MeanAbsoluteError

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import Classes, DenseClasses, MultiLabel, Regression
from lit_opt.engine.tasks.metrics_by_name import build_metrics, complete_metrics

OURS = "lit_opt.engine.tasks.metrics.Accuracy"


def complete(targets, num, **specs):
    return complete_metrics(specs, SimpleNamespace(targets=targets, num_classes=num))


@pytest.mark.parametrize(
    ("targets", "num", "spec", "path", "arguments"),
    [
        (Classes(), 5, "auroc", "classification.MulticlassAUROC", {"num_classes": 5}),
        (MultiLabel(), 5, "AUROC", "classification.MultilabelAUROC", {"num_labels": 5}),
        (MultiLabel(), 1, "auroc", "classification.BinaryAUROC", {}),
        (Classes(), 5, "f1", "classification.MulticlassF1Score", {"num_classes": 5}),
        (Classes(), 5, "f1_score", "classification.MulticlassF1Score", {"num_classes": 5}),
        (Classes(), 5, "mcc", "classification.MulticlassMatthewsCorrCoef", {"num_classes": 5}),
        (
            Classes(),
            5,
            {"name": "fbeta", "beta": 2.0, "num_classes": 7},
            "classification.MulticlassFBetaScore",
            {"beta": 2.0, "num_classes": 7},
        ),
        (
            Classes(),
            5,
            "torchmetrics.F1Score",
            "F1Score",
            {"task": "multiclass", "num_classes": 5},
        ),
        (
            MultiLabel(),
            5,
            {"class_path": "torchmetrics.F1Score", "init_args": {"average": "macro"}},
            "F1Score",
            {"average": "macro", "task": "multilabel", "num_labels": 5},
        ),
        (
            DenseClasses(255),
            3,
            "iou",
            "JaccardIndex",
            {"task": "multiclass", "num_classes": 3, "ignore_index": 255},
        ),
        (Regression(), 1, "mae", "regression.MeanAbsoluteError", {}),
        (Regression(), 4, "mse", "regression.MeanSquaredError", {}),
        (Regression(), 4, "pearson", "regression.PearsonCorrCoef", {"num_outputs": 4}),
        (Regression(), 4, "r2", "regression.R2Score", {}),
    ],
)
def test_a_name_is_the_metric_of_the_task_with_its_sizes(targets, num, spec, path, arguments):
    assert complete(targets, num, a=spec) == {"a": {"name": f"torchmetrics.{path}", **arguments}}
    assert build_metrics(complete(targets, num, a=spec))["a"]


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "minmax", "base_metric": "f1"},
        {"class_path": "torchmetrics.MinMaxMetric", "init_args": {"base_metric": {"name": "f1"}}},
    ],
)
def test_sizes_are_filled_in_within_wrappers(spec):
    f1 = {"name": "torchmetrics.classification.MulticlassF1Score", "num_classes": 5}
    made = complete(Classes(), 5, a=spec)
    assert made["a"]["base_metric"] == f1
    assert build_metrics(made)["a"]._base_metric.num_classes == 5


def test_acc_is_our_own_and_objects_stay_as_they_are():
    assert complete(Classes(), 5, a="acc", b={"name": "accuracy", "top_k": 2}) == {
        "a": {"name": OURS},
        "b": {"name": OURS, "top_k": 2},
    }
    mae = MeanAbsoluteError()
    assert build_metrics({"mae": mae}) == {"mae": mae}
    assert list(build_metrics(None)) == ["acc"]


@pytest.mark.parametrize(
    ("targets", "spec", "told"),
    [
        (Classes(), "f1_scores", "F1Score"),
        (Regression(), "auroc", "for regression"),
        (Classes(), "torch.load", "no subclass of torchmetrics.Metric"),
        (Classes(), "os.system", "not imported"),
        (Classes(), {"name": "f1", "averge": "macro"}, "averge"),
        (Classes(), {"name": "f1", "average": "some"}, "some"),
        (Classes(), {"name": "auroc", "thresholds": -5}, "non-negative"),
    ],
)
def test_mistakes_are_told(targets, spec, told):
    with pytest.raises(UserError, match=rf"--metrics.a\b(.|\n)*{told}"):
        build_metrics(complete(targets, 3, a=spec))


@pytest.mark.parametrize("name", ["loss", "", "a.b", "update", "training"])
def test_a_name_that_is_taken_is_told(name):
    """As `loss` it would have replaced val/loss, whose least value chooses the best checkpoint."""
    with pytest.raises(UserError, match=rf"--metrics: {name!r} can't be the name"):
        build_metrics(complete(Classes(), 3, **{name: "f1"}))
