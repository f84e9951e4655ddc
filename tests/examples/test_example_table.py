"""The table: scikit-learn's gradient boosting, a kill, the stated result."""

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from recorder import weights
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OrdinalEncoder

CONFIG = f"--config={ROOT}/examples/table/config.yaml"
SMALL = [CONFIG, "--dataset.rows=400", "--batch_size=64", "--epochs=2", "--balanced=true"]


def test_its_auroc_is_scikit_learns_of_its_predictions(run):
    done = run(*SMALL, "--name=a")
    run("predict", "--ckpt_path=runs/a/checkpoints/best.ckpt")
    with Path("runs/a/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    score = [float(r["prob"]) if r["class"] == "yes" else 1 - float(r["prob"]) for r in rows]
    y = done.datamodule.splits["test"].y
    assert done.datamodule.class_names == ["no", "yes"]
    assert done.scores["test/auroc"] == pytest.approx(roc_auc_score(y, score), abs=2e-3)


def test_killed_and_resumed_it_ends_as_the_uninterrupted_run(run):
    words = [*SMALL, "--save_every=3", "--no_test"]
    run(*words, "--name=whole")
    with pytest.raises(SystemExit):
        run(*words, "--name=cut", "--callbacks+=recorder.Kill", "--callbacks.dies_at=8")
    run(*words, "--name=cut", "--resume", "--callbacks=[]")
    assert weights("whole") == weights("cut")


def boosting() -> float:
    """The test AUROC of gradient boosting on the same rows."""
    with next(Path("data").glob("loans-*.csv")).open() as file:
        table = np.array(list(csv.reader(file))[1:], dtype=object)
    numbers = np.array([[float(v) if v else np.nan for v in row[:3]] for row in table])
    x = np.column_stack([numbers, OrdinalEncoder().fit_transform(table[:, 3:6])])
    y = (table[:, 6] == "yes").astype(int)
    held = np.zeros(len(y), bool)
    held[np.argsort(y, kind="stable")[4::5]] = True
    model = HistGradientBoostingClassifier(categorical_features=[3, 4, 5], random_state=0)
    model.fit(x[~held], y[~held])
    return roc_auc_score(y[held], model.predict_proba(x[held])[:, 1])


@pytest.mark.slow
def test_the_stated_result(run):
    scores = run(CONFIG, "--name=a").scores
    assert scores["test/auroc"] > 0.7
    assert scores["test/auroc"] > boosting() - 0.01
