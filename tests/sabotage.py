"""Runs of `train.py` in processes of their own, and callbacks that hold or break them at a step."""

import hashlib
import os
import runpy
import signal
import sys
import time
import warnings
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

ROOT = Path(__file__).parent.parent
TRAIN = str(ROOT / "train.py")
HELD, GO = "held", "go"
# Forks off one process that has imported everything, which takes seconds.
FORKING = get_context("forkserver")
FORKING.set_forkserver_preload(["lit_opt.lit_cli", "sklearn.datasets", "torch.utils.tensorboard"])


class Hold(pl.Callback):
    """Holds a run at the moment that HOLD names, such as `step 30`, until there is a file `go`."""

    def _at(self, moment: str) -> None:
        if os.environ.get("BREAK") == moment:
            raise ValueError("out of luck")
        if os.environ.get("HOLD") == moment:
            Path(HELD + os.environ.get("LOCAL_RANK", "0")).touch()
            while not Path(GO).exists():
                time.sleep(0.01)

    def on_sanity_check_start(self, *args: Any) -> None:
        self._at("sanity")

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self._at(f"epoch {trainer.current_epoch}")

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self._at(f"step {trainer.global_step}")

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if not trainer.sanity_checking:
            self._at(f"{trainer.state.fn.value} {trainer.global_step}")

    def on_train_end(self, *args: Any) -> None:
        self._at("end")

    def on_fit_end(self, *args: Any) -> None:
        self._at("fit end")

    def on_test_batch_end(self, *args: Any) -> None:
        self._at("test")


class Rows(pl.Callback):
    """Appends a line for every sample of a training batch: epoch, batch, a digest of x."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        with Path("rows").open("a") as file:
            for x in batch[0]:
                name = hashlib.sha256(x.numpy().tobytes()).hexdigest()
                file.write(f"{trainer.current_epoch} {batch_idx} {name}\n")


class Run:
    """A run in a session of its own, so that `group` reaches its workers and nothing else.

    Args:
        words: The command line.
        variables: To be added to the environment; `HOLD` and `BREAK` are for the callback.
    """

    def __init__(self, *words: str, **variables: str) -> None:
        for name in Path.cwd().glob(f"{HELD}*"):
            name.unlink()
        Path(GO).unlink(missing_ok=True)
        given = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}/tests", **variables}
        self.process: BaseProcess = FORKING.Process(
            target=_train, args=(words, str(Path.cwd()), given)
        )
        self.process.start()

    def held(self, processes: int = 1) -> "Run":
        """Waits for `Hold`."""
        deadline = time.monotonic() + 60
        while not all(Path(f"{HELD}{rank}").exists() for rank in range(processes)):
            assert self.process.is_alive() and time.monotonic() < deadline, self.outputs()
            time.sleep(0.01)
        return self

    def send(self, number: int, group: bool = False) -> "Run":
        """Sends a signal and lets the run go on."""
        assert self.process.pid
        (os.killpg if group else os.kill)(self.process.pid, number)
        Path(GO).touch()
        return self

    def end(self, seconds: float = 60) -> tuple[int, str, str]:
        """Exit status, negative for a signal that killed it, stdout and stderr."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
            raise TimeoutError(self.outputs())
        return self.process.exitcode, *self.outputs()

    def outputs(self) -> tuple[str, str]:
        return Path("stdout").read_text(), Path("stderr").read_text()


def _train(words: tuple[str, ...], folder: str, variables: dict[str, str]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.update(variables)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [TRAIN, *words]
    sys.path[0] = str(ROOT)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", ".*worker processes in total.*")  # on one core
    runpy.run_path(TRAIN, run_name="__main__")
