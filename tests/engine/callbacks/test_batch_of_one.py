"""A batch of one sample and batch norm, of 1,294 training samples: 3 * 431 + 1."""

import pytest
from torch import nn


class Norm(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))


class Norm2d(nn.Sequential):
    """One sample has 64 values a channel here."""

    def __init__(self) -> None:
        super().__init__(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10))


NORM = [f"--net={__name__}.Norm"]
WORDS = ["--epochs=1", "--no_test", "--batch_size=431"]


def test_it_is_told_before_the_training(fails, capsys):
    error = fails(*NORM, *WORDS, "--name=a")
    assert "the last batch of an epoch has one sample" in error
    assert "set --drop_last true, or another --batch_size" in error
    assert "epoch 1/" not in capsys.readouterr().out
    assert "\nset another --batch_size" in fails(
        *NORM, *WORDS, "--batch_size=1", "--drop_last=true"
    )


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ([*NORM, "--drop_last=true"], 3),
        ([*NORM, "--limit_train_batches=2"], 2),
        ([f"--net={__name__}.Norm2d"], 4),
        (["--net=MLP", "--net.hidden=[8]"], 4),
        ([*NORM, "--drop_last=true", "--steps_per_execution=2"], 3),
        ([*NORM, "--drop_last=true", "--scheduler=OneCycleLR"], 3),
    ],
)
def test_what_can_be_trained_is(run, words, steps):
    trainer = run(*WORDS, *words).trainer
    assert trainer.global_step == steps
    for config in trainer.lr_scheduler_configs:
        assert config.scheduler.total_steps == steps
