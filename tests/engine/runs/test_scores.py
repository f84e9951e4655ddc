from lit_opt.engine.runs.scores import error_line


def test_the_tutorials_line():
    line = error_line("Test", {"test/loss": 0.0934564, "test/acc": 0.9721})
    assert line == "Test Error: acc 97.2%, avg loss 0.093456"


def test_other_metrics_and_none():
    assert error_line("Test", {"test/loss": 1.0, "test/r2": 0.45}) == (
        "Test Error: r2 0.4500, avg loss 1.000000"
    )
