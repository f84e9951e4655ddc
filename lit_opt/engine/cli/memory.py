"""Out of memory, told in one line with what to lower."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb

from lightning.pytorch import Trainer

from lit_opt.datamodule import ImageData
from lit_opt.engine.errors import RunError

FULL = re.compile(r"out of memory|DefaultCPUAllocator|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
SIZE = re.compile(r"tried to allocate ([\d.]+ \w+)", re.IGNORECASE)


@contextmanager
def full_memory_told(trainer: Trainer, data: ImageData) -> Iterator[None]:
    """Raises a `RunError` in place of torch's error of a full memory, of the host or a device."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or FULL.search(str(error)):
            size = SIZE.search(str(error))
            wanted = f" (tried to allocate {size[1]})" if size else ""
            raise RunError(f"out of memory{wanted}; {_remedy(error, trainer, data)}") from error
        raise


def _remedy(error: BaseException, trainer: Trainer, data: ImageData) -> str:
    half = "" if "16" in str(trainer.precision) else ", or set --precision bf16-mixed"
    files = {Path(frame.filename).stem for frame in extract_tb(error.__traceback__)}
    if files & {"evaluation_loop", "prediction_loop"}:
        return f"lower --eval_batch_size, now {data.eval_batch_size}{half}"
    if "training_epoch_loop" in files:
        more = 2 * trainer.accumulate_grad_batches
        makes_up = f"(--accumulate_grad_batches {more} makes up for half of it)"
        return f"lower --batch_size, now {data.batch_size} {makes_up}{half}"
    return "the net, or the data set, is too large"
