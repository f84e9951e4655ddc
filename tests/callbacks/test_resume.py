import pytest

LAST = "--ckpt_path=runs/a/checkpoints/last.ckpt"


def rate(cli):
    return cli.trainer.optimizers[0].param_groups[0]["lr"]


def test_nothing_changed_nothing_said_and_the_result_is_the_uninterrupted_one(run, capsys):
    run("fit", "--epochs=2", "--name=a")
    capsys.readouterr()
    continued = run("fit", LAST, "--epochs=4")
    assert "continuing" not in capsys.readouterr().out
    whole = run("fit", "--epochs=4")
    for a, b in zip(continued.model.parameters(), whole.model.parameters(), strict=True):
        assert a.equal(b)


def test_a_new_horizon_counts(run):
    run("fit", "--epochs=2", "--scheduler=OneCycleLR", "--name=a")
    longer = run("fit", LAST, "--epochs=4")
    assert longer.trainer.global_step == 84
    whole = run("fit", "--epochs=4", "--scheduler=OneCycleLR")
    assert rate(longer) == pytest.approx(rate(whole))


def test_another_optimizer_starts_afresh(run):
    run("fit", "--epochs=1", "--name=a")
    cli = run("fit", LAST, "--epochs=2", "--optimizer=SGD", "--optimizer.momentum=0.9")
    assert type(cli.trainer.optimizers[0]).__name__ == "SGD"
    assert cli.trainer.global_step == 42


def test_an_argument_no_longer_given_is_torchs_default(run, capsys):
    run("fit", "--epochs=1", "--optimizer.weight_decay=0.5", "--name=a")
    cli = run("fit", LAST, "--epochs=2", "--optimizer=AdamW")
    assert cli.trainer.optimizers[0].param_groups[0]["weight_decay"] == 0.01
    assert "weight_decay 0.5 -> None" not in capsys.readouterr().out
