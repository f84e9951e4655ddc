"""A SLURM job is requeued only if the user gives an environment that does so."""

from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy

from lit_opt.engine.runs.resume.signals import plugins_of


def test_an_environment_is_added_where_slurm_would_requeue(monkeypatch):
    environment, users = LightningEnvironment(), SLURMEnvironment()
    assert plugins_of(None) == []
    assert plugins_of(environment) == plugins_of([environment]) == [environment]
    monkeypatch.setenv("SLURM_NTASKS", "1")
    [ours] = plugins_of(None)
    assert isinstance(ours, SLURMEnvironment)
    assert not ours.auto_requeue
    assert plugins_of(users) == [users]
    assert plugins_of(None, DDPStrategy(cluster_environment=users)) == []
    for name in ("TORCHELASTIC_RUN_ID", "GROUP_RANK"):  # torchrun within a job goes first
        monkeypatch.setenv(name, "0")
    assert plugins_of(None) == []
