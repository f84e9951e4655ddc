import csv


def test_batch_losses_and_lr_are_logged_every_so_many_steps(run):
    cli = run("--epochs=1", "--log_every_n_steps=5", "--scheduler=LinearLR", "--no_test")
    with (cli.run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["lr"]]
    assert [row["step"] for row in rows] == ["5", "10", "15", "20"]
    assert all(float(row["train/loss_step"]) > 0 for row in rows)
    rates = [float(row["lr"]) for row in rows]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]
