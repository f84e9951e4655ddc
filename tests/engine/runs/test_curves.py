from lit_opt.engine.runs.curves import CSVCurves


def test_rows_of_a_step_are_merged_and_new_columns_added(tmp_path):
    curves = CSVCurves(tmp_path / "run")
    curves.log_metrics({"a": 1.0}, 1)
    curves.save()
    curves.log_metrics({"b": 2.0}, 1)
    curves.log_metrics({"a": 3.0}, 5)
    curves.finalize("success")
    assert (tmp_path / "run/metrics.csv").read_text() == "step,a,b\n1,1.0,2.0\n5,3.0,\n"


def test_nothing_measured_nothing_written(tmp_path):
    CSVCurves(tmp_path / "run").save()
    assert not (tmp_path / "run").exists()
