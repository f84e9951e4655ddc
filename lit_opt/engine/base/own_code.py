"""Which code is the user's own: neither Python's, nor an installed library's, nor the engine's."""

import sys
import sysconfig
import traceback
from pathlib import Path

LIBRARIES = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
ENGINE_FOLDER = Path(__file__).parents[1]


def is_own_code(file: str) -> bool:
    """Whether a file is there and is the user's own."""
    homes = [*map(Path, LIBRARIES), ENGINE_FOLDER]
    return Path(file).is_file() and not any(Path(file).is_relative_to(home) for home in homes)


def is_own_class(cls: type) -> bool:
    """Whether a class is defined in a file of the user's own."""
    return is_own_code(getattr(sys.modules.get(cls.__module__), "__file__", None) or "")


def place_in_own_code(error: BaseException) -> str:
    """`\\nin FILE, line N, FUNCTION`: the innermost one of the traceback that is the user's own."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_own_code(file := frame.f_code.co_filename):
            place = f"\nin {file}, line {line}, {frame.f_code.co_name}"
    return place


def place_of_cause(error: BaseException) -> str:
    """The same for what `error` was raised from, or what that was raised from."""
    place = ""
    while error.__cause__:
        error = error.__cause__
        place = place_in_own_code(error) or place
    return place
