"""Start-up, and how time and memory grow with the number of samples.

    python benchmarks/scale.py --samples 6000 60000 600000

Every figure is of a process of its own: made-up images of 28×28 in memory, MLP, batch 1024, one
epoch with validation. The peak of memory is told above that of a process that only imports
lightning; the images themselves take 0.8 MB a thousand.
"""

import argparse
import os
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TRAIN = Path(__file__).parent.parent / "train.py"


def fit(samples: int) -> None:
    """Prints seconds to the first step, seconds of the epoch and the peak of memory in MB."""
    import lightning.pytorch as pl
    import torch

    from lit_opt.engine.cli.main import main
    from lit_opt.sources import Source

    program = runpy.run_path(str(TRAIN))["program"]

    class MadeUp(Source):
        in_shape = (1, 28, 28)
        num_classes = 10

        def load(self, data_dir: Path, split: str) -> Any:
            if split == "val":
                return None
            count = samples if split == "train" else 1000
            x = torch.randint(256, (count, 1, 28, 28), dtype=torch.uint8)
            return x, torch.arange(count) % 10

    class Times(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            self.first = getattr(self, "first", time.time())

        def on_train_epoch_start(self, *_: Any) -> None:
            self.began = time.time()

        def on_train_end(self, *_: Any) -> None:
            told = self.first - float(os.environ["BEGAN"]), time.time() - self.began
            print(*told, peak(), file=sys.stderr)

    here = sys.modules["__main__"]
    here.MadeUp, here.Times = MadeUp, Times  # type: ignore[attr-defined]
    MadeUp.__module__ = Times.__module__ = "__main__"
    words = "fit --dataset __main__.MadeUp --callbacks+ __main__.Times --epochs 1"
    with tempfile.TemporaryDirectory() as folder:
        main(program, args=[*words.split(), "--batch_size", "1024", "--default_root_dir", folder])


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(*words: str) -> list[float]:
    environment = {**os.environ, "BEGAN": str(time.time())}
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stderr.split()]


def seconds(*words: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, str(TRAIN), *words], capture_output=True, check=False)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[6_000, 60_000, 600_000])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rounds = range(args.rounds)
    for words in (["--help"], ["--learning_rate", "1"]):
        middle = statistics.median(seconds(*words) for _ in rounds)
        print(f"train.py {' '.join(words):20} {middle:6.2f} s")
    base = statistics.median(child("--import")[0] for _ in rounds)
    for samples in args.samples:
        first, epoch, memory = map(
            statistics.median, zip(*(child("--fit", str(samples)) for _ in rounds), strict=True)
        )
        print(
            f"{samples:9,} samples: first step after {first:5.1f} s, epoch {epoch:6.2f} s "
            f"({1e6 * epoch / samples:.0f} µs a sample), memory +{memory - base:.0f} MB"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--import"]:
        import torchmetrics  # noqa: F401

        print(peak(), file=sys.stderr)
    elif sys.argv[1:2] == ["--fit"]:
        fit(int(sys.argv[2]))
    else:
        main()
