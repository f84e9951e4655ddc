import csv


def test_the_default_run_has_curves_within_epochs_and_whole_losses(run):
    cli = run("--epochs=5", "--accumulate_grad_batches=2", "--log_every_n_steps=1", "--no_test")
    with (cli.run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["lr"]]
    assert len(rows) == cli.trainer.global_step == 55
    assert 1.5 < float(rows[0]["train/loss_step"]) < 3


def test_batch_losses_and_lr_are_logged_every_so_many_steps(run):
    cli = run("--epochs=1", "--log_every_n_steps=5", "--scheduler=LinearLR", "--no_test")
    with (cli.run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["lr"]]
    assert [row["step"] for row in rows] == ["5", "10", "15", "20"]
    assert all(float(row["train/loss_step"]) > 0 for row in rows)
    rates = [float(row["lr"]) for row in rows]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]
