"""What the Trainer is given beside the user's plugins."""

import signal

import pytest
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy

from lit_opt.engine.runs.checkpoint_file import SafeCheckpointIO
from lit_opt.engine.runs.plugins import plugins_of, requeue_signal, use_safe_io


@pytest.mark.parametrize(
    ("given", "strategy", "kind"),
    [
        ([], "auto", SafeCheckpointIO),
        ([], DDPStrategy(), SafeCheckpointIO),
        ([TorchCheckpointIO()], "auto", TorchCheckpointIO),
    ],
    ids=str,
)
def test_the_users_own_checkpoint_plugin_wins(quiet_trainer, given, strategy, kind):
    plugins = plugins_of(given)
    trainer = quiet_trainer(plugins=plugins, strategy=strategy)
    use_safe_io(trainer.strategy, plugins)
    assert type(trainer.strategy.checkpoint_io) is kind


def test_without_slurm_nothing_is_added():
    environment = LightningEnvironment()
    assert plugins_of(None) == []
    assert plugins_of(environment) == plugins_of([environment]) == [environment]


def test_a_slurm_job_is_requeued_only_if_the_user_says_so(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    [ours] = plugins_of(None)
    assert isinstance(ours, SLURMEnvironment)
    assert requeue_signal([ours]) == 0
    users = SLURMEnvironment()
    assert plugins_of(users) == [users]
    assert requeue_signal([users]) == signal.SIGUSR1
    assert plugins_of(None, DDPStrategy(cluster_environment=users)) == []
    for name in ("TORCHELASTIC_RUN_ID", "GROUP_RANK"):  # torchrun within a job goes first
        monkeypatch.setenv(name, "0")
    assert plugins_of(None) == []
