"""What a run achieved: the tutorial's two lines and `metrics.json`."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from lit_opt.engine.runs.atomic_file import write_text


def error_line(title: str, metrics: Mapping[str, float]) -> str:
    """`Test Error: acc 97.2%, avg loss 0.093456`, averages over samples.

    Args:
        title: What comes before "Error".
        metrics: One stage's metrics, named `stage/name`.
    """
    scores = {name.split("/", 1)[-1]: value for name, value in metrics.items()}
    loss = scores.pop("loss", None)
    parts = [f"{n} {100 * v:.1f}%" if n == "acc" else f"{n} {v:.4f}" for n, v in scores.items()]
    if loss is not None:
        parts.append(f"avg loss {loss:.6f}")
    return f"{title} Error: {', '.join(parts)}"


def save_scores(path: Path, scores: Mapping[str, float]) -> None:
    """Numbers that JSON does not have, NaN and infinity, become null."""
    finite = {name: value if math.isfinite(value) else None for name, value in scores.items()}
    write_text(path, json.dumps(finite, indent=2) + "\n")
