"""What a run leaves in outcomes.json, against what torch and scikit-learn say of best.ckpt."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from sklearn.metrics import (
    confusion_matrix,
    jaccard_score,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
    root_mean_squared_error,
)

from lit_opt.engine.base.targets import DenseClasses, MultiLabel, NextToken, Regression
from lit_opt.engine.reports.label_outcomes import LabelOutcomes
from lit_opt.engine.reports.mask_outcomes import MaskOutcomes
from lit_opt.engine.reports.number_outcomes import NumberOutcomes
from lit_opt.engine.reports.samples import Samples
from lit_opt.engine.reports.token_outcomes import TokenOutcomes

RUN = Path("runs/a")


class Nothing:
    dataset = sampler = None


def collected(kind, targets, preds, y, names=None, processes: int = 2, batch: int = 8):
    """The summary of outcomes in batches, of as many processes."""
    states = []
    for rank in range(processes):
        outcomes = kind(targets, names)
        mine = preds[rank::processes], y[rank::processes]
        for part in zip(*(values.split(batch) for values in mine), strict=True):
            outcomes.add(*part)
        states.append(outcomes.state())
    kept = outcomes.summary(states, Samples(Nothing, None, "val"))
    return json.loads(json.dumps(kept))


def test_the_validation_of_the_best_checkpoint_is_collected(run):
    cli = run("--epochs=2", "--name=a", "--net.hidden=[32]")
    kept = json.loads((RUN / "outcomes.json").read_text())
    assert (kept["split"], kept["of"], kept["n"]) == ("val", "best.ckpt", 144)
    weights = torch.load(RUN / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    cli.model.load_state_dict(weights)
    x, y = next(iter(cli.datamodule.val_dataloader()))
    with torch.no_grad():
        preds = cli.model.eval()(cli.datamodule.normalizer(x)).argmax(1)
    assert kept["matrix"] == confusion_matrix(y, preds, labels=range(10)).tolist()
    assert sum(kept["matrix"][k][k] for k in range(10)) / 144 == pytest.approx(
        cli.scores["val/acc"]
    )
    wrong = [s["place"] for s in kept["samples"] if s["true"] != s["pred"]]
    assert all(int(preds[place]) != int(y[place]) for place in wrong)
    rows = cli.datamodule.splits["val"].rows
    assert [s["name"] for s in kept["samples"]] == [
        f"train {int(rows[s['place']])}" for s in kept["samples"]
    ]
    assert kept["samples"][0]["picture"].startswith("data:image/png;base64,")
    run("test", "--ckpt_path=runs/a/checkpoints/best.ckpt")  # its errors are not looked at
    assert json.loads((RUN / "outcomes.json").read_text()) == kept


def test_without_a_validation_they_are_those_of_the_test(run):
    run("--epochs=1", "--name=a", "--val_fraction=0", "--net.hidden=[8]")
    kept = json.loads((RUN / "outcomes.json").read_text())
    assert (kept["split"], kept["n"]) == ("test", 359)
    assert "The test set, as there is no validation set" in (RUN / "report.html").read_text()


@pytest.mark.slow
def test_two_processes_count_every_sample_once(run):
    words = ["--epochs=1", "--name=a", "--net.hidden=[32]", "--devices=2", "--accelerator=cpu"]
    subprocess.run([sys.executable, ROOT / "train.py", *words], check=True)
    both = json.loads((RUN / "outcomes.json").read_text())
    run("validate", "--ckpt_path=runs/a/checkpoints/best.ckpt", "--devices=1")
    alone = json.loads((RUN / "outcomes.json").read_text())
    assert both["n"] == 144
    for key in ("matrix", "classes", "pairs", "wrong"):
        assert both[key] == alone[key]
    assert both["ece"] == pytest.approx(alone["ece"], abs=1e-5)
    names = [[s["name"], s["picture"]] for s in both["samples"]]
    assert names == [[s["name"], s["picture"]] for s in alone["samples"]]


def test_labels_are_counted_as_sklearn_does():
    draw = torch.Generator().manual_seed(0)
    logits, y = torch.randn(50, 4, generator=draw), torch.rand(50, 4, generator=draw).round()
    kept = collected(LabelOutcomes, MultiLabel(), logits, y)
    reference = precision_recall_fscore_support(y, logits > 0, zero_division=0)
    for column, values in zip(torch.tensor(kept["labels"]).double().T, reference, strict=True):
        torch.testing.assert_close(column, torch.as_tensor(values).double(), atol=1e-6, rtol=0)
    assert (kept["n"], sum(n for n, _, _ in kept["bins"])) == (50, 200)
    off = (logits.sigmoid() - y).abs().amax(1)
    assert [s["name"] for s in kept["samples"]] == [
        str(int(place)) for place in off.argsort(descending=True)[:24]
    ]


def test_numbers_are_scored_as_sklearn_does():
    draw = torch.Generator().manual_seed(0)
    y = torch.randn(90, 2, generator=draw)
    preds = y + 0.3 * torch.randn(90, 2, generator=draw)
    kept = collected(NumberOutcomes, Regression(), preds, y)
    for k, found in enumerate(kept["outputs"]):
        args = y[:, k].numpy(), preds[:, k].numpy()
        reference = [mean_absolute_error(*args), root_mean_squared_error(*args), r2_score(*args)]
        assert [found[key] for key in ("mae", "rmse", "r2")] == pytest.approx(reference, abs=1e-5)
        assert kept["pairs"][k] == torch.stack([y[:, k], preds[:, k]], 1).tolist()
        assert sum(n for _, _, n in kept["residuals"][k]) == 90
    assert collected(NumberOutcomes, Regression(), preds[:, 0], y[:, :1])["n"] == 90
    fields = collected(NumberOutcomes, Regression(), preds.view(6, 1, 5, 6), y.view(6, 1, 5, 6))
    assert (fields["fields"], fields["n"]) == (True, 6)


def test_masks_are_counted_as_sklearn_does_without_the_ignored_places():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 3, 4, 5, generator=draw)
    y = torch.randint(3, (10, 4, 5), generator=draw)
    y[:, 0] = 255
    kept = collected(MaskOutcomes, DenseClasses(ignore_index=255), logits, y)
    preds, counted = logits.argmax(1), y != 255
    assert kept["matrix"] == confusion_matrix(y[counted], preds[counted]).tolist()
    overlap = jaccard_score(y[counted], preds[counted], average=None)
    assert [row[0] for row in kept["classes"]] == pytest.approx(overlap.tolist())
    share = [float((preds[i] != y[i])[counted[i]].float().mean()) for i in range(10)]
    assert [s["wrong"] for s in kept["worst"]] == pytest.approx(
        sorted(share, reverse=True)[:8], abs=1e-4
    )
    assert [s["name"] for s in kept["first"]] == ["0", "1", "2", "3"]


def test_tokens_have_the_perplexity_of_torch():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 6, 5, generator=draw)
    y = torch.randint(5, (9, 6), generator=draw)
    y[2, 3:] = -100
    kept = collected(TokenOutcomes, NextToken(), logits, y, names=list("abcde"))
    loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
    assert kept["perplexity"] == pytest.approx(math.exp(loss), abs=1e-4)
    assert kept["tokens"] == 51
    first = [F.cross_entropy(logits[:, t], y[:, t]) for t in range(6)]
    assert kept["by_place"] == pytest.approx([float(v) for v in first], abs=1e-5)
    text = kept["texts"][0]
    assert text["true"] == ["abcde"[k] for k in y[0]]
    assert text["pred"] == ["abcde"[k] for k in logits[0].argmax(-1)]
