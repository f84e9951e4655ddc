"""Checkpoints of the version before load, and a fit goes on from them."""

import shutil
from pathlib import Path

import pytest
import torch

# Stopped by SIGTERM after optimizer step 30, in the second epoch, on one thread, with WORDS.
OLD = Path(__file__).with_name("lit_opt_0_1_0.ckpt")
WORDS = ["--epochs=3", "--net.hidden=[8]", "--net.dropout=0.2", "--crop_padding=1"]
WORDS += ["--scheduler=OneCycleLR"]


def test_a_fit_goes_on_from_it_as_if_it_had_never_been_interrupted(run):
    run("--name=whole", "--no_test", *WORDS)
    run("--name=older", "--no_test", f"--ckpt_path={OLD}", "--epochs=3")
    whole, older = (
        torch.load(f"runs/{name}/checkpoints/last.ckpt", weights_only=True)
        for name in ("whole", "older")
    )
    assert older["global_step"] == whole["global_step"] == 63
    for name, weight in whole["state_dict"].items():
        # Another processor rounds otherwise; lost state or other random numbers differ by more.
        torch.testing.assert_close(older["state_dict"][name], weight, atol=1e-5, rtol=1e-4)


def test_it_is_scored_with_the_classes_that_it_names_by_their_old_paths(run):
    """The scores are those that the older version printed."""
    shutil.copy(OLD, "older.ckpt")  # what a test finds is written beside it
    scores = run("test", "--ckpt_path=older.ckpt").scores
    assert scores == pytest.approx({"test/acc": 0.123, "test/loss": 2.328534}, abs=1e-3)
