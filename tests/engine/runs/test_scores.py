import pytest

from lit_opt.engine.runs.scores import CSVCurves, error_line


def test_rows_of_a_step_are_merged_and_new_columns_added(tmp_path):
    curves = CSVCurves(tmp_path / "run")
    curves.save()
    assert not (tmp_path / "run").exists()  # nothing is measured yet
    curves.log_metrics({"a": 1.0}, 1)
    curves.save()
    curves.log_metrics({"b": 2.0}, 1)
    curves.log_metrics({"a": 3.0}, 5)
    curves.finalize("success")
    assert (tmp_path / "run/metrics.csv").read_text() == "step,a,b\n1,1.0,2.0\n5,3.0,\n"


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        ({"test/loss": 0.0934564, "test/acc": 0.9721}, "acc 97.2%, avg loss 0.093456"),
        ({"test/loss": 1.0, "test/r2": 0.45}, "r2 0.4500, avg loss 1.000000"),
    ],
)
def test_the_tutorials_line(scores, line):
    assert error_line("Test", scores) == f"Test Error: {line}"
