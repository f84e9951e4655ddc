"""What a config achieves over several seeds: the scores and seconds that its header states.

python benchmarks/seeds.py configs/digits.yaml --seeds 5 [any option of train.py]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = Path(__file__).parent.parent / "train.py"


def run(config: str, seed: int, options: list[str]) -> dict[str, float]:
    """The scores of one run in a process of its own, with its `seconds` from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TRAIN), "--config", config, "--seed", str(seed), *options]
        began = time.perf_counter()
        where = ["--default_root_dir", folder, "--name", "run"]
        subprocess.run([*command, *where], check=True, capture_output=True)
        seconds = time.perf_counter() - began
        scores = json.loads((Path(folder) / "runs/run/metrics.json").read_text())
    return {name: v for name, v in scores.items() if isinstance(v, float)} | {"seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 1 to N")
    args, options = parser.parse_known_args()
    runs = [run(args.config, seed, options) for seed in range(1, args.seeds + 1)]
    for name in runs[0]:
        values = [scores[name] for scores in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(
            f"{name:10} {statistics.mean(values):.4f} ± {spread:.4f}"
            f"  (min {min(values):.4f}, max {max(values):.4f}, n = {len(values)})"
        )


if __name__ == "__main__":
    main()
