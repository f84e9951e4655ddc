"""Under SLURM a run is as elsewhere: continued with `--resume`, requeued by a plugin, if asked."""

from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector


class _Explicit(_CheckpointConnector):
    """Loads what it is told to, and no `hpc_ckpt_1.ckpt` that lies in the folder."""

    _hpc_resume_path = None


def nothing_unasked(trainer: Trainer, plugins: Any) -> None:
    """Turns off what Lightning does by itself where it sees SLURM's variables.

    Args:
        trainer: Its environment is no longer to requeue the job, unless it is of the user.
        plugins: Those of the user, one or a list.
    """
    environment = trainer._accelerator_connector.cluster_environment
    given = plugins if isinstance(plugins, list) else [plugins]
    if isinstance(environment, SLURMEnvironment) and environment not in given:
        environment.auto_requeue = False
    if SLURMEnvironment.detect():
        trainer._checkpoint_connector = _Explicit(trainer)
