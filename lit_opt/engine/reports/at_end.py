"""What a fit leaves at its end: how it ended, and its report."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_opt.engine.base.errors import warn
from lit_opt.engine.reports.run_report import REPORT, write_report
from lit_opt.engine.reports.timing import Timing
from lit_opt.engine.runs.environment import record_end


def leave_report(folder: Path, trainer: Any, why: str) -> Path | None:
    """Notes why the fit ended and writes its report; a failure is one line of warning."""
    try:
        found = [c.measured(trainer) for c in trainer.callbacks if isinstance(c, Timing)]
        best = [c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None)]
        chosen_by = {"monitor": best[0].monitor, "mode": best[0].mode} if best else {}
        record_end(folder, {"why": why, **chosen_by, **(found[0] if found else {})})
        return write_report(folder)
    except Exception as error:
        told = " ".join(str(error).split())
        warn(f"'{folder / REPORT}' is not written: {type(error).__name__}: {told}")
    return None


@contextmanager
def report_if_broken(folder: Path, trainer: Any) -> Iterator[None]:
    """Leaves a report where a fit ends by an exception, such as a signal or a bug."""
    try:
        yield
    except BaseException as error:
        told = str(error).partition("\n")[0]
        leave_report(folder, trainer, f"stopped: {told or type(error).__name__}")
        raise
