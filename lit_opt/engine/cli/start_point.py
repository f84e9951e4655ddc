"""Where a run is kept and where it starts: its folder, its checkpoint, what the data must be."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only

from lit_opt.engine.base.allowed_imports import allow, limit_imports
from lit_opt.engine.base.errors import Stopped, UserError
from lit_opt.engine.base.interface import data_of
from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.config_layers import checkpoint_layer, load_point, run_layer
from lit_opt.engine.loading.facts import facts_in
from lit_opt.engine.runs.allowance import allowed_before
from lit_opt.engine.runs.checkpoint_file import LAST, newest_valid
from lit_opt.engine.runs.folder import folder_of, is_finished, locked, run_of


def folder_for(line: CommandLine, config: Namespace, held: ExitStack) -> Path | None:
    """The run's folder; a fit locks it before anything is read that decides what happens to it."""
    if line.command != "fit":
        if not config.ckpt_path:
            example = "runs/NAME/checkpoints/best.ckpt"
            raise UserError(f"{line.command} needs trained weights; set --ckpt_path {example}")
        return run_of(Path(config.ckpt_path))
    name = line.run_name(config)
    if config.trainer.num_nodes > 1:  # its launcher tells the ranks later
        rank_zero_only.rank = rank_zero_only.rank or LightningEnvironment().node_rank()  # type: ignore[attr-defined]
    if config.trainer.fast_dev_run:
        return None
    root = Path(config.trainer.default_root_dir or ".").expanduser()
    folder = folder_of(root, line.label_of(config), name, config.resume)
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        held.enter_context(locked(folder))
    return folder


def start_point(
    line: CommandLine, config: Namespace, folder: Path | None
) -> tuple[Path | None, dict[str, Any]]:
    """The checkpoint to start from, whose options come under the command's own; what it holds."""
    point = Path(config.ckpt_path) if config.ckpt_path else None
    resumes = line.command == "fit" and config.resume and folder is not None
    if source := run_of(point) if point and not resumes else folder:
        allow(allowed_before(source))
        limit_imports()
    if resumes and folder:
        point = newest_valid(folder / "checkpoints") or point
    elif line.command == "fit" and point and point.name == LAST:
        point = newest_valid(point.parent) or point
    if point is None:
        return None, {}
    line.flags.append(f"--ckpt_path={point}")
    checkpoint = load_point(point)
    line.layers.append(checkpoint_layer(checkpoint, line.options))
    if resumes and folder:
        line.layers.append(run_layer(folder, line.options, line.flags))
    return point, checkpoint


def keep_facts(
    command: str, data: Any, checkpoint: dict[str, Any], point: Path | None, folder: Path | None
) -> None:
    """Tells the data what the checkpoint's numbers mean, before anything is read."""
    if command == "predict" and (source := getattr(data, "source", None)):
        source.labelled = False
    if facts := facts_in(checkpoint):
        own = bool(folder and point and point.resolve().is_relative_to(folder.resolve()))
        needs = "test" if command in ("test", "predict") else "train"
        data_of(data).keep(facts, continues=own or command != "fit", needs=needs)


def leave_if_finished(folder: Path, config: Namespace) -> None:
    if is_finished(folder, config.trainer):
        scores = (folder / "metrics.json").is_file()
        where = f"; its scores are in {folder}/metrics.json" if scores else ""
        raise Stopped(f"{folder} is finished{where}; a larger --max_epochs would go on")
