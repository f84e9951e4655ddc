"""Declared once: loss, scores and predictions of every kind of targets equal plain torch's."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics
from torch import Tensor, nn

from lit_opt.engine.base.targets import (
    Classes,
    DenseClasses,
    MultiLabel,
    NextToken,
    Regression,
    SoftLabels,
    inferred,
)
from lit_opt.engine.callbacks import WritePredictions
from lit_opt.sources import Source

N = 40
pytestmark = pytest.mark.filterwarnings("ignore:No (posi|nega)tive samples")
VOID = 255


class OfArrays:
    """scikit-learn's metrics, some versions of which take no tensors."""

    def __getattr__(self, name):
        metric = getattr(metrics, name)
        return lambda *values, **options: metric(*map(np.asarray, values), **options)


reference = OfArrays()


class Features(Source):
    """float64 (N, 6), as numpy gives it; `y` of them and of as many random numbers."""

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        if split == "val":
            return None
        generator = torch.Generator().manual_seed(len(split))
        x = torch.randn(N, 6, generator=generator, dtype=torch.float64)
        return self.of(x, torch.randn(N, 6, generator=generator))

    def of(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class Named(Features):
    classes = ["cat", "dog", "owl"]

    def of(self, x, noise):
        return x, (x[:, :3] + noise[:, :3]).argmax(1)


class Soft(Features):
    def of(self, x, noise):
        return x, (x[:, :3] + noise[:, :3]).softmax(1)


class Labels(Features):
    targets, classes = MultiLabel(), ["cat", "dog", "owl"]

    def of(self, x, noise):
        return x, (x[:, :3] + noise[:, :3] > 0).int()


class Coin(Features):
    targets = MultiLabel()

    def of(self, x, noise):
        return x, noise[:, 0] > 0


class OneNumber(Features):
    targets = Regression()

    def of(self, x, noise):
        return x, x.sum(1)


class Numbers(Features):
    regression = True  # as an older source says it

    def of(self, x, noise):
        return x.float(), x[:, :3].float() + noise[:, :3]


class Masks(Features):
    """uint8 images, and masks that have no class in their first pixel."""

    targets, num_classes = DenseClasses(ignore_index=VOID), 3

    def of(self, x, noise):
        images = (40 * torch.cat([x, noise, x], 1).reshape(-1, 3, 2, 3) + 128).to(torch.uint8)
        masks = (images.float() + 9 * noise.reshape(-1, 1, 2, 3)).argmax(1).to(torch.uint8)
        masks[:, 0, 0] = VOID
        return images, masks


class Text(Features):
    targets = NextToken()

    def of(self, x, noise):
        tokens = (2 * torch.cat([x, noise], 1)).long().clamp(-2, 2) + 2
        return tokens[:, :-1].to(torch.int32), tokens[:, 1:].to(torch.uint8)


class Pixels(nn.Module):
    def __init__(self, in_channels: int = 1, num_classes: int = 2) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # (B, C, H, W) -> (B, num_classes, H, W)


class Bigram(nn.Module):
    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.layer = nn.Embedding(num_classes, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # (B, T) -> (B, T, num_classes)


MASKS, TEXT = "--net=test_targets.Pixels", "--net=test_targets.Bigram"


def accuracy(z, y):
    return reference.accuracy_score(y, z.argmax(1))


def auroc(z, y):
    return reference.roc_auc_score(y, z.softmax(1), multi_class="ovr")


def f1(z, y):
    return reference.f1_score(y, z.argmax(1), average="macro")


def pixels(z, y):
    """The same, pixel by pixel, without those that have no class."""
    z, y = z.movedim(1, -1).reshape(-1, 3), y.flatten().long()
    return z[y != VOID], y[y != VOID]


# What all test samples at once give: z, the net's outputs; y as the source has it.
KINDS = {
    Named: ("auroc f1 confmat", F.cross_entropy, {"acc": accuracy, "auroc": auroc, "f1": f1}),
    Soft: (
        "auroc",
        F.cross_entropy,
        {
            "acc": lambda z, y: accuracy(z, y.argmax(1)),
            "auroc": lambda z, y: auroc(z, y.argmax(1)),
        },
    ),
    Labels: (
        "auroc f1",
        lambda z, y: F.binary_cross_entropy_with_logits(z, y.float()),
        {
            "acc": lambda z, y: ((z > 0) == y).double().mean(),
            "auroc": lambda z, y: reference.roc_auc_score(y, z, average="macro"),
            "f1": lambda z, y: reference.f1_score(y, z > 0, average="macro"),
        },
    ),
    Coin: (
        "auroc f1",
        lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y.float()),
        {
            "acc": lambda z, y: ((z[:, 0] > 0) == y).double().mean(),
            "auroc": lambda z, y: reference.roc_auc_score(y, z[:, 0]),
            "f1": lambda z, y: reference.f1_score(y, z[:, 0] > 0),
        },
    ),
    OneNumber: (
        "r2 mae pearson",
        lambda z, y: F.mse_loss(z[:, 0], y.float()),
        {
            "r2": lambda z, y: reference.r2_score(y, z[:, 0]),
            "mae": lambda z, y: reference.mean_absolute_error(y, z[:, 0]),
            "pearson": lambda z, y: np.corrcoef(z[:, 0], y)[0, 1],
        },
    ),
    Numbers: (
        "r2 mse pearson",
        F.mse_loss,
        {
            "r2": lambda z, y: reference.r2_score(y, z),
            "mse": lambda z, y: reference.mean_squared_error(y, z),
            "pearson/1": lambda z, y: np.corrcoef(z[:, 1], y[:, 1])[0, 1],
        },
    ),
    Masks: (
        "f1 iou",
        lambda z, y: F.cross_entropy(z, y.long(), ignore_index=VOID),
        {
            "acc": lambda z, y: accuracy(*pixels(z, y)),
            "f1": lambda z, y: f1(*pixels(z, y)),
            "iou": lambda z, y: reference.jaccard_score(
                pixels(z, y)[1], pixels(z, y)[0].argmax(1), average="macro"
            ),
        },
    ),
    Text: (
        "f1 perplexity",
        lambda z, y: F.cross_entropy(z.flatten(0, 1), y.long().flatten()),
        {
            "acc": lambda z, y: accuracy(z.flatten(0, 1), y.flatten()),
            "f1": lambda z, y: f1(z.flatten(0, 1), y.flatten()),
            "perplexity": lambda z, y: F.cross_entropy(z.mT, y.long()).exp(),
        },
    ),
}


ARRAYS = {Masks: lambda z: z.argmax(1), Text: lambda z: z.argmax(2)}
COLUMNS = {
    Named: lambda z: {"pred": z.argmax(1), "prob": z.softmax(1).amax(1)},
    Soft: lambda z: {"class": z.argmax(1)},
    Labels: lambda z: dict(zip(["cat", "dog", "owl"], z.sigmoid().T, strict=True)),
    Coin: lambda z: {"0": z.sigmoid()[:, 0]},
    OneNumber: lambda z: {"output_0": z[:, 0]},
    Numbers: lambda z: {f"output_{k}": z[:, k] for k in range(3)},
}


def fitted(run, source, *words):
    net = {Masks: MASKS, Text: TEXT}.get(source, "--net.hidden=[8]")
    names = ", ".join(KINDS[source][0].split())
    how = f"--dataset=test_targets.{source.__name__}", net, "--epochs=1", "--lr=0.1", "--name=a"
    return run(*how, f"--metrics+=[{names}]", "--no_test", *words)


def outputs_of(done, source):
    """The net's, z, for all test samples at once, and y as the source has it."""
    x, y = source().load(Path(), "test")
    with torch.no_grad():
        x, _ = done.datamodule.on_after_batch_transfer((x, torch.zeros(N)), 0)
        return done.model.eval()(x), y


@pytest.mark.parametrize("source", KINDS)
def test_scores_and_predictions_are_those_of_all_samples_at_once(run, column, source):
    done = fitted(run, source)
    z, y = outputs_of(done, source)
    _, loss, scores = KINDS[source]
    expected = {f"test/{name}": float(of(z, y)) for name, of in scores.items()}
    expected["test/loss"] = float(loss(z, y))
    for size in (1, 64, 512):
        done.datamodule.eval_batch_size = size
        [scores] = done.trainer.test(done.model, done.datamodule, verbose=False)
        assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    writer = WritePredictions(Path("runs/a"))
    done.trainer.callbacks.append(writer)
    done.trainer.predict(done.model, done.datamodule, return_predictions=False)
    if source in ARRAYS:
        assert np.array_equal(np.load("runs/a/predictions.npy"), ARRAYS[source](z))
        return
    for name, values in COLUMNS[source](z).items():
        written = torch.tensor([float(value) for value in column("runs/a/predictions.csv", name)])
        torch.testing.assert_close(written, values.float(), atol=1e-4, rtol=1e-4)


def test_what_is_no_number_is_written_to_the_run_folder(run, column):
    """One number a class by the classes' names, a matrix and a curve as files."""
    words = "--metrics.per={name: f1, average: none}", "--metrics+=roc", "--monitor=val/per/dog"
    wrapped = "--metrics+={each: {name: classwise, metric: {name: f1, average: none}}}"
    done = fitted(run, Named, *words, wrapped, "--test")
    assert done.kept[0].mode == "max"
    z, y = outputs_of(done, Named)  # the trainer has loaded the best weights to score them
    each = reference.f1_score(y, z.argmax(1), average=None)
    for name, score in zip(Named.classes, each, strict=True):
        assert done.scores[f"test/per/{name}"] == pytest.approx(score)
        assert done.scores[f"test/each/multiclassf1score_{name}"] == pytest.approx(score)
    matrix = [column("runs/a/confmat-test.csv", name) for name in Named.classes]
    assert np.array_equal(np.int64(matrix).T, reference.confusion_matrix(y, z.argmax(1)))
    assert {path.name for path in Path("runs/a").glob("roc-*")} == {
        f"roc-{stage}.json" for stage in ("train", "val", "test")
    }


@pytest.mark.parametrize(
    ("targets", "y", "wrong"),
    [
        (MultiLabel(), torch.tensor([[0, 2.0]]), "y is 2 at sample 0, column 1"),
        (SoftLabels(), torch.tensor([[0.5, 0.5], [0.5, 0.6]]), "at sample 1 .*\n.*sum to 1"),
        (DenseClasses(), torch.tensor([[0, 1], [-1, 0]]), "label -1 at sample 1"),
        (DenseClasses(), torch.tensor([[0, 1], [-100, 0]]), None),
        (Regression(), torch.zeros(4, 2), None),
    ],
)
def test_values_are_checked(targets, y, wrong):
    said = targets.wrong(y, 2)
    assert said is None if wrong is None else re.search(wrong, said)


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (torch.tensor([0, 1]), Classes),
        (torch.tensor([True, False]), Classes),
        (torch.tensor([[0.25, 0.75], [1, 0]]), SoftLabels),
        (torch.tensor([[1.0], [1.0]]), None),
        (torch.tensor([[1.0, 1.0]]), None),
        (torch.tensor([0.5, 1.0]), None),
        (torch.zeros(2, 2, dtype=torch.int64), None),
    ],
)
def test_what_is_not_declared_is_inferred_where_it_can_only_be_one_thing(y, kind):
    assert (type(inferred(y)) if inferred(y) else None) is kind


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["Labels", "--loss=cross_entropy"], "MultiLabel, .*\n.*--loss BCEWithLogitsLoss"),
        (["Soft", "--loss=MultiMargin"], "SoftLabels"),
        (["Text"], r"samples of shape \(11,\), torch.int64.*\nset --net.in_shape"),
        (["Text", TEXT, "--net.num_classes=2"], r"\(2, 11, 2\)\nset --net.num_classes 5"),
        (["Masks", MASKS, "--flip=true"], "flip"),
        (["Masks", MASKS, "--net.num_classes=4"], r"\(2, 3, 2, 3\);\n.*\n.*--net.num_classes 3"),
        (["Labels", "--metrics+=torchmetrics.classification.BinaryEER"], None),
    ],
)
def test_what_does_not_fit_the_targets_is_told_before_the_training(run, fails, words, told):
    words = f"--dataset=test_targets.{words[0]}", *words[1:], "--epochs=1", "--no_test"
    if told is None:
        assert "val/BinaryEER" in run(*words).trainer.callback_metrics
    else:
        assert re.search(told, fails(*words))


def test_a_net_of_tokens_is_given_shorter_texts():
    fits = NextToken().fits_net
    assert fits((11,), (64,))
    assert fits((64,), (64,))
    assert not fits((65,), (64,))
    assert not fits((0,), (64,))
    assert not fits((1, 11), (64,))
    assert not Regression().fits_net((11,), (64,))
