"""Counts of what was predicted, against scikit-learn and a naive loop."""

import pytest
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from lit_opt.engine.base.targets import Classes, SoftLabels
from lit_opt.engine.reports.class_outcomes import (
    ClassOutcomes,
    calibration,
    class_table,
    confused_pairs,
    confusion,
    expected_calibration_error,
    most_confused,
    of_cells,
)
from lit_opt.engine.reports.samples import Samples


class Nothing:
    """A loader of no data set that could be asked for a picture."""

    dataset = sampler = None


def drawn(n: int = 500, num: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, C), and classes of which the last one is never true."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, num, generator=generator)
    return logits, torch.randint(num - 1, (n,), generator=generator)


def summary(targets, logits, y, processes: int = 1, batch: int = 64) -> dict:
    """Of batches as `processes` share them: sample i is that of rank i modulo their number."""
    states = []
    for rank in range(processes):
        outcomes = ClassOutcomes(targets, None)
        mine = logits[rank::processes], y[rank::processes]
        for part in zip(*(values.split(batch) for values in mine), strict=True):
            outcomes.add(*part)
        states.append(outcomes.state())
    return outcomes.summary(states, Samples(Nothing, None, "val"))


@pytest.mark.parametrize("processes", [1, 3])
def test_matrix_and_table_are_those_of_sklearn(processes):
    logits, y = drawn()
    kept, preds = summary(Classes(), logits, y, processes), logits.argmax(1)
    assert kept["n"] == 500
    assert kept["matrix"] == confusion_matrix(y, preds, labels=range(6)).tolist()
    reference = precision_recall_fscore_support(y, preds, labels=range(6), zero_division=0)
    table = torch.tensor(kept["classes"]).double()
    for column, values in zip(table.T, reference, strict=True):
        torch.testing.assert_close(column, torch.as_tensor(values).double(), atol=1e-6, rtol=0)
    for sample in kept["samples"]:
        place = sample["place"]
        assert (sample["true"], sample["pred"]) == (int(y[place]), int(preds[place]))
        assert sample["prob"] == pytest.approx(float(logits.softmax(1)[place].max()), abs=1e-4)
    assert kept == summary(Classes(), logits, y)  # whatever the processes


def test_soft_labels_count_as_their_largest():
    logits, y = drawn()
    soft = torch.nn.functional.one_hot(y, 6).float() * 0.7 + 0.05
    assert summary(SoftLabels(), logits, soft)["matrix"] == summary(Classes(), logits, y)["matrix"]


def test_expected_calibration_error_is_that_of_a_loop():
    logits, y = drawn()
    probs, preds = logits.softmax(1).max(1)
    error = 0.0
    for m in range(15):
        inside = [i for i in range(500) if m / 15 < float(probs[i]) <= (m + 1) / 15]
        if inside:
            right = sum(int(preds[i]) == int(y[i]) for i in inside) / len(inside)
            sure = sum(float(probs[i]) for i in inside) / len(inside)
            error += len(inside) / 500 * abs(right - sure)
    bins = calibration(probs, preds == y)
    assert sum(n for n, _, _ in bins) == 500
    assert expected_calibration_error(bins) == pytest.approx(error, abs=1e-9)
    assert expected_calibration_error(calibration(torch.ones(4), torch.ones(4) > 0)) == 0


def test_of_many_classes_the_most_confused_are_shown_and_no_square_of_them_is_made():
    num = 100_000  # whose square would not fit into memory
    target, preds = torch.arange(200).int(), torch.arange(200).int()
    preds[40:43] = torch.tensor([7, 7, 9])
    shown = most_confused(target, preds, num)
    assert len(shown) == 20
    assert {7, 9, 40, 41, 42} <= set(shown)
    inside = [k for k in range(200) if int(target[k]) in shown and int(preds[k]) in shown]
    reference = confusion_matrix(target[inside], preds[inside], labels=shown)
    assert confusion(target, preds, shown).tolist() == reference.tolist()
    assert sorted(confused_pairs(target, preds, num)) == [[40, 7, 1], [41, 7, 1], [42, 9, 1]]
    assert class_table(target, preds, num)[7] == [1 / 3, 1.0, 0.5, 1]


def test_every_cell_has_samples_the_surest_mistakes_and_the_least_sure_hits():
    logits, y = drawn()
    probs, preds = logits.softmax(1).max(1)
    places = of_cells(probs, preds.int(), y.int(), list(range(6)))
    assert len(places) == len(set(places))
    for true in range(6):
        for pred in range(6):
            cell = [i for i in range(500) if (int(y[i]), int(preds[i])) == (true, pred)]
            cell.sort(key=lambda i: float(probs[i]), reverse=true != pred)
            mine = [i for i in places if (int(y[i]), int(preds[i])) == (true, pred)]
            assert mine == cell[:4]
