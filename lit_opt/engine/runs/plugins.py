"""The Trainer's plugins: checkpoint files written whole, and a SLURM job that isn't requeued."""

from typing import Any

from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment, TorchCheckpointIO
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import Strategy

from lit_opt.engine.runs.checkpoint_file import SafeCheckpointIO


def plugins_of(given: Any, strategy: Any = "auto") -> list[Any]:
    """What to pass as `Trainer(plugins=…)`.

    Under SLURM Lightning saves a file of its own and requeues the job at SIGUSR1; a run is
    continued with `--resume` instead, unless the user gave an environment.

    Args:
        given: The user's plugins: None, one or a list.
        strategy: The user's strategy, a name or an object.
    """
    plugins = given if isinstance(given, list) else [given] if given else []
    environments = [p for p in plugins if isinstance(p, ClusterEnvironment)]
    chosen = environments or getattr(strategy, "cluster_environment", None)
    if chosen or TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return list(plugins)
    return [*plugins, SLURMEnvironment(auto_requeue=False)]


def requeue_signal(plugins: list[Any]) -> int:
    """The number of the signal at which a user's SLURM plugin requeues the job; 0 for none."""
    slurm = [p for p in plugins if isinstance(p, SLURMEnvironment) and p.auto_requeue]
    return slurm[0].requeue_signal or 0 if slurm else 0


def use_safe_io(strategy: Strategy, plugins: list[Any]) -> None:
    """Writes checkpoints by `SafeCheckpointIO`, unless the user or the strategy has another way.

    A TPU's strategy, for one, has; so it is set in the strategy that the Trainer has chosen.
    """
    chosen = any(isinstance(plugin, CheckpointIO) for plugin in plugins)
    if not chosen and type(strategy.checkpoint_io) is TorchCheckpointIO:
        strategy.checkpoint_io = SafeCheckpointIO()
