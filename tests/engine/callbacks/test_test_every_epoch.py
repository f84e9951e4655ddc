import csv


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_test_scores_are_in_the_curves_and_equal_the_test_command(run):
    cli = run("--name=a", "--epochs=2", "--callbacks+=TestEveryEpoch", "--flip=true")
    scores = [float(row["test/acc"]) for row in rows(cli.run / "metrics.csv") if row["test/acc"]]
    assert len(scores) == 2
    test = run("test", "--ckpt_path", "runs/a/checkpoints/last.ckpt")
    assert abs(test.scores["test/acc"] - scores[-1]) < 1e-6


def test_training_is_the_same_with_and_without(run):
    cli = run("--name=with", "--epochs=2", "--callbacks+=TestEveryEpoch", "--net.dropout=0.2")
    other = run("--name=without", "--epochs=2", "--net.dropout=0.2")
    for name in ("train/loss", "val/loss"):
        with_test = [row[name] for row in rows(cli.run / "metrics.csv") if row[name]]
        assert with_test == [row[name] for row in rows(other.run / "metrics.csv") if row[name]]


def test_it_never_selects(fails):
    error = fails("--monitor=test/acc", "--callbacks+=TestEveryEpoch", "--epochs=1")
    assert "test" in error
    assert "--monitor" in error
