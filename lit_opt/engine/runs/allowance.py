"""What a run may import, as its `environment.json` records it, sealed with a key of this user.

The key never leaves the user's state folder, so a run folder that was made or edited elsewhere
allows nothing: it would otherwise choose which code a resume or a test imports.
"""

import contextlib
import hmac
import json
import os
import secrets
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from lit_opt.engine.base.allowed_imports import allowed_here

KEY_BYTES = 32


def sealed_allowance() -> dict[str, Any]:
    """The entries of a start in environment.json: the names that it allows, and their seal.

    The seal is the HMAC-SHA256 of the names in hexadecimal digits; None if there are no names, or
    the key can't be kept.
    """
    names = allowed_here()
    key = (_read_key() or _make_key()) if names else None
    return {"allowed": names, "seal": _seal(names, key) if key else None}


def allowed_before(run: Path) -> list[str]:
    """The packages that this user's earlier starts of a run could name; others' count for nothing.

    None, too, if the file is damaged.
    """
    key = _read_key()
    try:
        starts = json.loads((run / "environment.json").read_bytes()) if key else []
        sealed = [start["allowed"] for start in starts if _is_sealed(start, key or b"")]
    except (OSError, ValueError, TypeError, RecursionError):
        return []
    return sorted({name for names in sealed for name in names})


def _is_sealed(start: Any, key: bytes) -> bool:
    if not isinstance(start, dict) or not isinstance(seal := start.get("seal"), str):
        return False
    return hmac.compare_digest(seal.encode(), _seal(start.get("allowed"), key).encode())


def _seal(names: Any, key: bytes) -> str:
    return hmac.digest(key, json.dumps(names).encode(), "sha256").hex()


# ---- the key


def _key_file() -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local/state") / "lit-opt/key"


def _read_key() -> bytes | None:
    """None if there is none, or it is damaged."""
    with contextlib.suppress(OSError, RuntimeError):  # no home
        key = _key_file().read_bytes()
        return key if len(key) == KEY_BYTES else None
    return None


def _make_key() -> bytes | None:
    """Makes the key, or replaces a damaged one; of several processes that do so one's stays."""
    with contextlib.suppress(OSError, RuntimeError):
        path = _key_file()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _read_key() is None:
            path.unlink(missing_ok=True)
        with NamedTemporaryFile(dir=path.parent) as file:  # that only the user can read
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
            path.hardlink_to(file.name)  # fails where another process was faster
    return _read_key()
