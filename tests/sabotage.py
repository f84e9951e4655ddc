"""Runs of `train.py` in processes of their own, and callbacks that hold or break them at a step."""

import atexit
import faulthandler
import os
import runpy
import signal
import sys
import time
import warnings
from collections.abc import Callable
from itertools import count
from multiprocessing import get_context, set_start_method
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

ROOT = Path(__file__).parent.parent
TRAIN = ROOT / "tests/digits_program.py"
HELD, GO = "held", "go"
NUMBERS = count(1)
VARIABLES = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
# Forks off one process that has imported everything, which takes seconds. It looks for modules
# where this variable says when it starts, not where this process does.
os.environ["PYTHONPATH"] = VARIABLES["PYTHONPATH"]
FORKING = get_context("forkserver")
FORKING.set_forkserver_preload(
    ["lit_opt.engine.cli.run", "sklearn.datasets", "torch.utils.tensorboard"]
)


class Hold(pl.Callback):
    """Holds a run at the moment that HOLD names, such as `step 30`, until there is a file `go`."""


def _hook(name: str) -> Callable[..., None]:
    def hook(self: Hold, trainer: pl.Trainer, *args: Any) -> None:
        stage = "sanity" if trainer.sanity_checking else trainer.state.fn.value
        moment = name.format(t=trainer, stage=stage)
        if os.environ.get("BREAK") == moment:
            raise ValueError("out of luck")
        if os.environ.get("HOLD") == moment:
            Path(HELD + os.environ.get("LOCAL_RANK", "0")).touch()
            while not Path(GO).exists():
                time.sleep(0.01)

    return hook


Hold.on_sanity_check_start = _hook("start")
Hold.on_train_epoch_start = _hook("epoch {t.current_epoch}")
Hold.on_train_batch_end = _hook("step {t.global_step}")
Hold.on_validation_start = _hook("before {stage} {t.global_step}")
Hold.on_validation_batch_end = _hook("{stage} {t.global_step}")
Hold.on_train_end = _hook("end")
Hold.on_fit_end = _hook("fit end")
Hold.on_test_batch_end = _hook("test")


class Run:
    """A run in a session of its own, so that `group` reaches its workers and nothing else.

    Args:
        words: The command line.
        folder: Where it works. Default: here.
        variables: To be added to the environment; `HOLD` and `BREAK` are for the callback.
    """

    def __init__(self, *words: str, folder: Path | None = None, **variables: str) -> None:
        self.folder = (folder or Path()).absolute()
        for path in [*self.folder.glob(f"{HELD}*"), self.folder / GO]:
            path.unlink(missing_ok=True)
        self.outputs = [self.folder / f"{next(NUMBERS)}.{name}" for name in ("out", "err")]
        self.process: BaseProcess = FORKING.Process(
            target=_train, args=(words, self.folder, self.outputs, {**VARIABLES, **variables})
        )
        self.process.start()
        self.pid = self.process.pid or 0

    def held(self, processes: int = 1) -> "Run":
        """Waits until `Hold` holds all of its processes."""
        deadline = time.monotonic() + 120
        while not all((self.folder / f"{HELD}{rank}").exists() for rank in range(processes)):
            assert self.process.is_alive(), self.read()
            assert time.monotonic() < deadline, self.read()
            time.sleep(0.01)
        return self

    def send(self, number: int, group: bool = False) -> "Run":
        (os.killpg if group else os.kill)(self.pid, number)
        return self

    def go(self) -> "Run":
        (self.folder / GO).touch()
        return self

    def end(self, seconds: float = 120) -> tuple[int, str, str]:
        """Exit status, negative for a signal that killed it, stdout and stderr."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.send(signal.SIGABRT)  # it tells where it hangs
            self.process.join(5)
            self.send(signal.SIGKILL, group=True)
            raise TimeoutError("\n".join(self.read()))
        return self.process.exitcode, *self.read()

    def read(self) -> list[str]:
        return [path.read_text() if path.exists() else "" for path in self.outputs]


def _train(
    words: tuple[str, ...], folder: Path, outputs: list[Path], variables: dict[str, str]
) -> None:
    faulthandler.enable()
    set_start_method(None, force=True)  # the run's workers start as ever
    os.setsid()
    os.chdir(folder)
    os.environ.update(variables)
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [str(TRAIN), *words]
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", ".*worker processes in total.*")  # on one core
    try:
        runpy.run_path(str(TRAIN), run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out
