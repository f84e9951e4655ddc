"""What a config achieves over several seeds: the scores and seconds that its header states.

python benchmarks/seeds.py configs/digits.yaml --seeds 5 [any option of train.py]
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = Path(__file__).parent.parent / "train.py"


def run(config: str, seed: int, options: list[str]) -> dict[str, float]:
    """The scores of one run in a process of its own, its `seconds` and those of the `training`.

    The training's are the epochs', validation included; the rest are imports, reading and scoring.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TRAIN), "--config", config, "--seed", str(seed), *options]
        began = time.perf_counter()
        where = ["--default_root_dir", folder, "--name", "run"]
        done = subprocess.run([*command, *where], check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        scores = json.loads((Path(folder) / "runs/run/metrics.json").read_text())
    training = sum(map(float, re.findall(r"^epoch .* ([\d.]+) s$", done.stdout, re.MULTILINE)))
    floats = {name: value for name, value in scores.items() if isinstance(value, float)}
    return floats | {"seconds": seconds, "training": training}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    args, options = parser.parse_known_args()
    runs = [run(args.config, seed, options) for seed in range(args.first, args.first + args.seeds)]
    for name in runs[0]:
        values = [scores[name] for scores in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(
            f"{name:10} {statistics.mean(values):.4f} ± {spread:.4f}"
            f"  (min {min(values):.4f}, max {max(values):.4f}, n = {len(values)})"
        )


if __name__ == "__main__":
    main()
