import csv

import pytest
import torch


@pytest.mark.parametrize(("monitor", "choose"), [("val/loss", min), ("val/acc", max)])
def test_best_is_the_best_by_the_monitored_metric_and_last_is_the_last(run, monitor, choose):
    cli = run("--epochs=5", f"--monitor={monitor}", "--lr=0.03", "--name=a", "--no_test")
    with (cli.run / "metrics.csv").open() as file:
        values = [float(row[monitor]) for row in csv.DictReader(file) if row[monitor]]
    best, last = (
        torch.load(f"runs/a/checkpoints/{name}.ckpt", weights_only=True)
        for name in ("best", "last")
    )
    assert last["epoch"] == 4
    assert best["epoch"] == values.index(choose(values))
    files = {path.name for path in (cli.run / "checkpoints").iterdir()}
    assert files == {"best.ckpt", "last.ckpt", "previous.ckpt"}


def test_what_is_reported_is_the_best_checkpoints_score(run):
    cli = run("--epochs=5", "--lr=0.03", "--name=a")
    again = run("validate", "--ckpt_path=runs/a/checkpoints/best.ckpt")
    assert again.scores["val/loss"] == cli.scores["val/loss"]
