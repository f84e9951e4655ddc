"""The multi-label example, killed inside an epoch and resumed."""

import torch
from conftest import ROOT

CONFIG = f"--config={ROOT}/examples/multilabel/config.yaml"


def test_killed_and_resumed_to_the_bit(run):
    words = [CONFIG, "--batch_size=900", "--no_test"]
    whole = run(*words, "--epochs=2", "--name=whole")
    run(*words, "--epochs=2", "--max_steps=3", "--name=cut")
    again = run("--resume", "--name=cut", "--max_steps=-1")
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
