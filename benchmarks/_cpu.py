"""The training step of every example beside a bare PyTorch loop with the same net and data.

    taskset -c 0 python benchmarks/bare_loops.py --rounds 7
    python benchmarks/bare_loops.py --only char_lm --steps 100

Each round trains lit-opt's run between two bare loops, in the same process; printed are the bare
loop's milliseconds a step and the median over the rounds of lit-opt's time over the mean of those
two, with the smallest and the largest. Neither validates. The first round is not counted.
"""

import argparse
import contextlib
import io
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from lit_opt.engine.cli.quiet import quiet_loggers, quiet_warnings

quiet_warnings()
import lightning.pytorch as pl
import torch
import torch.nn.functional as F

from examples.char_lm.gpt import GPT, PythonManual
from examples.stream.stream import Stream, Student
from lit_opt.engine.cli.main import main as lit_opt

quiet_loggers()
program = runpy.run_path(str(ROOT / "train.py"))["program"]


def char_lm(steps: int) -> float:
    """Seconds of as many steps; loss and accuracy are counted, as lit-opt does."""
    source = PythonManual()
    (x, y), net = source.load(Path(), "train"), GPT(source.num_classes)
    decay = {"betas": (0.9, 0.99), "weight_decay": 0.1}
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=True, **decay)
    loss_sum, correct = torch.tensor(0.0), torch.tensor(0)
    began = time.process_time()
    for rows in torch.randperm(len(y))[: steps * 16].split(16):
        logits = net(x[rows])
        loss = F.cross_entropy(logits.flatten(0, 1), y[rows].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        loss_sum += loss.detach()
        correct += (logits.argmax(2) == y[rows]).sum()
    return time.process_time() - began


def stream(steps: int) -> float:
    net, loader = Student().net, iter(Stream().train_dataloader())
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    began = time.process_time()
    for _ in range(steps):
        x, y = next(loader)
        loss = F.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - began


BARE: dict[str, Callable[[int], float]] = {"char_lm": char_lm, "stream": stream}


class TrainingTime(pl.Callback):
    began = seconds = 0.0

    def on_train_start(self, *_: Any) -> None:
        TrainingTime.began = time.process_time()

    def on_train_epoch_end(self, *_: Any) -> None:
        TrainingTime.seconds = time.process_time() - TrainingTime.began


def ours(example: str, steps: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        words = f"--config {ROOT}/examples/{example}/config.yaml --default_root_dir {folder} "
        words += f"--max_steps {steps} --no_test --limit_val_batches 0 "
        words += f"--callbacks+ {__name__}.TrainingTime"
        allow = [*program.allow, __name__]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            lit_opt(replace(program, allow=allow), args=words.split())
        return TrainingTime.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(BARE), choices=BARE)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for example in args.only:
        steps = args.steps * (10 if example == "stream" else 1)
        ratios, bare = [], [BARE[example](steps)]
        for _ in range(args.rounds + 1):
            taken = ours(example, steps)
            bare.append(BARE[example](steps))
            ratios.append(taken / statistics.mean(bare[-2:]))
        ratios, step = ratios[1:], 1000 * statistics.median(bare) / steps
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{example:10} bare {step:7.2f} ms a step, lit-opt / bare", end=" ")
        print(f"{statistics.median(ratios):.3f} {spread}", flush=True)


if __name__ == "__main__":
    main()
