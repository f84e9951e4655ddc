"""Every private name of Lightning, torch, torchmetrics and jsonargparse that lit-opt touches.

Nothing else in the package touches one; `tests/test_architecture.py` sees to it. Each function says
what it does, why no public name does it, the version it was written for, and what happens when the
private name is gone: the public way, slower or plainer, never an error at import. A test for each
in `tests/engine/test_lightning_private.py` fails when its name stops working.
"""

from __future__ import annotations

from typing import Any

# ---- the step: what the training step goes through ----


# ---- loading: what a loader does ----


# ---- resuming: positions, counts and states ----


# ---- the command line: parsers and messages ----

