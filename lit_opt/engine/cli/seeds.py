"""`--seeds N`: the same fit with N seeds, one after the other."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lit_opt.engine.base.allowed_imports import split_flag
from lit_opt.engine.base.errors import Stopped, UserError
from lit_opt.engine.cli.program import Program

if TYPE_CHECKING:
    from lit_opt.engine.cli.run import Run


def split_seeds(words: list[str]) -> tuple[int | None, list[str]]:
    """What `--seeds` says, and the words without it.

    Raises:
        UserError: if it is no number from 1 on.
    """
    values, others = split_flag(words, "--seeds")
    for value in values:
        if not value.isdecimal() or int(value) < 1:
            raise UserError(f"--seeds {value}: expected how many runs to make, such as 5")
    return int(values[-1]) if values else None, others


def run_seeds(program: Program, words: list[str], count: int) -> "Run | None":
    """Runs `words` with the seeds S, S + 1, …, S being `--seed`, each a run NAME-seedS.

    A run that is finished is passed over with `--resume`. What ends a run otherwise than at its
    end, such as Ctrl-C, ends the series. The table of `compare` closes it.
    """
    from lit_opt.engine.cli.command_line import CommandLine
    from lit_opt.engine.cli.run import run
    from lit_opt.engine.reports.compare import show
    from lit_opt.engine.reports.compared_runs import run_at

    line = CommandLine(program, words)
    if line.command != "fit":
        raise UserError(f"--seeds is for fit; {line.command} has no seed of its own")
    config = line.parse_without_layers()
    name = line.run_name(config)
    if config.resume and not name:
        raise UserError("--seeds with --resume needs the --name that the runs were started with")
    name = name or f"{line.label_of(config)}-{time.strftime('%Y%m%d-%H%M%S')}"
    if config.seed_everything + count > 2**32:
        raise UserError(f"--seeds {count}: the last seed would be above {2**32 - 1}; lower --seed")
    root = Path(config.trainer.default_root_dir or ".").expanduser() / "runs"
    argv, done = sys.argv, None
    folders = []
    for seed in range(config.seed_everything, config.seed_everything + count):
        of_seed = [*words, f"--seed={seed}", f"--name={name}-seed{seed}"]
        folders.append(root / f"{name}-seed{seed}")
        print(f"\nseed {seed}, {len(folders)} of {count}", flush=True)
        # What further processes of the run start with.
        sys.argv = [argv[0], *split_seeds(argv[1:])[1], *of_seed[-2:]]
        try:
            done = run(program, of_seed)
        except Stopped as stopped:
            if stopped.code:
                raise
            print(stopped)  # it is finished already
        finally:
            sys.argv = argv
    print()
    show([run_at(folder) for folder in folders if folder.is_dir()])  # none by --fast_dev_run
    return done
