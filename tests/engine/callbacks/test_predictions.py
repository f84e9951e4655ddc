import csv

from lit_opt.sources import Digits


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_predictions_of_classes_are_those_of_the_test_score(run):
    run("--epochs=2", "--name=a")
    best = "--ckpt_path=runs/a/checkpoints/best.ckpt"
    rows = read(run("predict", best).run / "predictions.csv")
    _, labels = Digits().load(None, "test")
    assert [int(row["index"]) for row in rows] == list(range(len(labels)))
    hits = [int(row["pred"]) == y for row, y in zip(rows, labels.tolist(), strict=True)]
    scores = run("test", best).scores
    assert abs(sum(hits) / len(hits) - scores["test/acc"]) < 1e-6
    assert all(0.1 <= float(row["prob"]) <= 1 for row in rows)


def test_predictions_of_a_regression_are_the_outputs(run):
    run("--dataset=Diabetes", "--loss=mse", "--metrics={}", "--epochs=1", "--name=a")
    rows = read(run("predict", "--ckpt_path=runs/a/checkpoints/best.ckpt").run / "predictions.csv")
    assert list(rows[0]) == ["index", "output_0"]
    assert len(rows) == 88
