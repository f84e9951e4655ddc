"""The character-level GPT: a plain loop's losses, a kill, its text, its stated result."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from recorder import Recorder, weights

from examples.char_lm.gpt import GPT, PythonManual

TINY = [f"--config={ROOT}/examples/char_lm/config.yaml", "--net.width=16", "--net.depth=1"]
TINY += ["--batch_size=4", "--limit_val_batches=1", "--limit_train_batches=12", "--no_test"]


def test_its_losses_are_a_plain_loops_bit_for_bit(run):
    constant = ["--scheduler=null", "--warmup=0", "--seed=7", "--num_sanity_val_steps=0"]
    done = run(*TINY, *constant, "--lr=0.01", "--callbacks+=recorder.Recorder")
    [recorder] = [c for c in done.trainer.callbacks if isinstance(c, Recorder)]
    net, (x, y) = recorder.initial, PythonManual().load(Path(), "train")
    decay = {"betas": (0.9, 0.99), "weight_decay": 0.1}
    optimizer = torch.optim.AdamW(net.parameters(), 0.01, fused=True, **decay)
    losses = []
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(7 * 1_000_003))
    for rows in order[:48].split(4):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x[rows]).flatten(0, 1), y[rows].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert recorder.losses == losses
    assert len(losses) == 12
    assert losses[-1] < losses[0]


def test_killed_and_resumed_it_ends_as_the_uninterrupted_run(run):
    words = [*TINY, "--net.dropout=0.1", "--save_every=4"]
    run(*words, "--name=whole")
    kill = {"class_path": "recorder.Recorder", "init_args": {"dies_at": 7}}
    with pytest.raises(SystemExit):
        run(*words, "--name=cut", f"--callbacks={json.dumps([kill])}")
    run(*words, "--name=cut", "--resume", "--callbacks=[]")
    assert weights("whole") == weights("cut")


def test_it_sees_no_later_character():
    net = GPT(num_classes=9, in_shape=(6,), depth=2, width=8, heads=2)
    x = torch.randint(9, (3, 6))
    changed = x.clone()
    changed[:, 4] = (x[:, 4] + 1) % 9
    moved = (net(x) != net(changed)).any(2)  # (B, T)
    assert not moved[:, :4].any()
    assert moved[:, 4:].all()


def test_predict_writes_text(run):
    run(*TINY, "--name=a")
    few = ["--limit_predict_batches=1", "--eval_batch_size=2", "--written=70"]
    run("predict", "--ckpt_path=runs/a/checkpoints/best.ckpt", *few)
    first, second = Path("runs/a/predictions.txt").read_text("utf-8").split("--- 1\n")
    source = PythonManual()
    x, _ = source.load(Path(), "test")
    for text, sample in ((first.removeprefix("--- 0\n"), x[0]), (second, x[1])):
        assert text.startswith("".join(source.classes[k] for k in sample[:32]))
        assert len(text) == 32 + 70 + 1


@pytest.mark.slow
def test_the_stated_result(run):
    scores = run(f"--config={ROOT}/examples/char_lm/config.yaml").scores
    assert 1.42 < scores["val/loss"] < 1.50
