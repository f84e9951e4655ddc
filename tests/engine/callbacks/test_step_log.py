def test_the_default_run_has_curves_within_epochs_and_whole_losses(run, column):
    cli = run("--epochs=2", "--accumulate_grad_batches=2", "--log_every_n_steps=1", "--no_test")
    losses = column(cli.folder / "metrics.csv", "train/loss_step")
    assert len(losses) == cli.trainer.global_step == 22
    assert 1.5 < float(losses[0]) < 3


def test_batch_losses_and_lr_are_logged_every_so_many_steps(run, column):
    cli = run("--epochs=1", "--log_every_n_steps=5", "--scheduler=LinearLR", "--no_test")
    path = cli.folder / "metrics.csv"
    assert {"5", "10", "15", "20"} <= set(column(path, "step"))
    assert len(column(path, "train/loss_step")) == 4
    rates = [float(rate) for rate in column(path, "lr")]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]
