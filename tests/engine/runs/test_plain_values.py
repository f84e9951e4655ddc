"""What a checkpoint is given is read back with `weights_only=True`, or refused when saved."""

from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import datetime
from enum import Enum, StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from lit_opt.engine.base.errors import RunError
from lit_opt.engine.runs.checkpoint_file import SafeCheckpointIO
from lit_opt.engine.runs.plain_values import plain


class Color(Enum):
    RED = 1


class Stage(StrEnum):
    FIT = "fit"


Point = namedtuple("Point", "x y")
SHARED = torch.ones(2)
VALUES = [
    *[(1, 1), (1.5, 1.5), ("a", "a"), (None, None), (True, True), (b"a", b"a"), (1j, 1j)],
    *[(np.float64(1.5), 1.5), (np.int64(3), 3), (np.bool_(True), True), (np.str_("a"), "a")],
    *[(np.ones(2), torch.ones(2, dtype=torch.float64)), (np.array(3), 3)],
    (np.array(["a"]), ["a"]),
    *[(deque([1, np.int8(2)]), [1, 2]), (range(2), [0, 1]), (frozenset([1]), {1})],
    *[({1, 2}, {1, 2}), ((1, deque()), (1, [])), (Point(1, Path("a")), (1, "a"))],
    *[(Path("a/b"), "a/b"), (Color.RED, 1), (Stage.FIT, "fit")],
    *[(defaultdict(int, a=1), {"a": 1}), (Counter("aa"), {"a": 2}), ({np.int64(1): 2}, {1: 2})],
    (OrderedDict(b=1, a=Path("x")), OrderedDict(b=1, a="x")),
    *[(v, v) for v in (torch.Size([1]), torch.float16, torch.device("cpu"), torch.strided)],
    *[(SHARED, SHARED), (torch.nn.Parameter(SHARED), torch.nn.Parameter(SHARED))],
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda v: type(v).__name__)
def test_plain_values_are_read_back(value, expected):
    SafeCheckpointIO().save_checkpoint({"callbacks": {"Mine": {"kept": value}}}, "a.ckpt")
    found = torch.load("a.ckpt", weights_only=True)["callbacks"]["Mine"]["kept"]
    assert type(found) is type(expected)
    assert torch.equal(found, expected) if torch.is_tensor(expected) else found == expected


def test_tensors_and_weights_are_not_copied():
    weights = torch.nn.Linear(2, 2).state_dict()
    saved = plain({"state_dict": weights, "optimizer_states": [{"state": {0: {"m": SHARED}}}]})
    assert saved["state_dict"] is weights
    assert saved["optimizer_states"][0]["state"][0]["m"] is SHARED


@pytest.mark.parametrize("value", [datetime(2026, 1, 1), len, partial(int), object(), int, ...])
def test_anything_else_is_refused_by_place_and_type(value):
    with pytest.raises(RunError, match=r"can't hold callbacks\.Mine\.a\[1\], a \w+\.\w+"):
        plain({"callbacks": {"Mine": {"a": [0, value]}}})


class Keeps(pl.Callback):
    value: Any = None

    def state_dict(self):
        return {"history": Keeps.value}

    def load_state_dict(self, state_dict):
        Keeps.value = state_dict["history"]


def test_a_callback_s_values_come_back_in_a_resume_or_end_the_run_at_the_first_save(run, fails):
    words = [f"--callbacks+={__name__}.Keeps", "--limit_train_batches=2", "--no_test", "--name=a"]
    Keeps.value = datetime(2026, 1, 1)
    assert "callbacks.Keeps.history, a datetime.datetime" in fails(*words, "--epochs=9", code=1)
    assert not list(Path("runs").rglob("*.ckpt"))
    Keeps.value = deque([Path("x"), np.float32(0.5)])
    run(*words, "--epochs=1", "--resume")
    run(*words, "--epochs=2", "--resume")
    assert Keeps.value == ["x", 0.5]
