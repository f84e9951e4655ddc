def test_test_scores_are_in_the_curves_and_equal_the_test_command(run, column):
    cli = run("--name=a", "--epochs=2", "--callbacks+=TestEveryEpoch", "--flip=true")
    scores = column(cli.folder / "metrics.csv", "test/acc")
    assert len(scores) == 2
    test = run("test", "--ckpt_path", "runs/a/checkpoints/last.ckpt")
    assert abs(test.scores["test/acc"] - float(scores[-1])) < 1e-6


def test_training_is_the_same_with_and_without(run, column):
    run("--name=with", "--epochs=2", "--callbacks+=TestEveryEpoch", "--net.dropout=0.2")
    run("--name=without", "--epochs=2", "--net.dropout=0.2")
    for name in ("train/loss", "val/loss"):
        tested, other = (column(f"runs/{run}/metrics.csv", name) for run in ("with", "without"))
        assert tested == other
