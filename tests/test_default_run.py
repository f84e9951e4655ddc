"""Promise 1: `python train.py` trains, validates and tests on embedded data."""


def test_the_default_run_learns_but_not_perfectly(run):
    scores = run().scores
    assert set(scores) == {"val/loss", "val/acc", "test/loss", "test/acc"}
    assert 0.96 < scores["test/acc"] < 1
    assert 0.93 < scores["val/acc"] < 1
    assert 0 < scores["test/loss"] < 0.2
