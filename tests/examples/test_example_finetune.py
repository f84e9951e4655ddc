"""Fine-tuning: a plain loop, a kill on either side of the thaw, the stated result."""

import copy
import json

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT

PRETRAIN = f"--config={ROOT}/examples/finetune/pretrain.yaml"
CONFIG = f"--config={ROOT}/examples/finetune/config.yaml"
FREEZE = {"class_path": "Freeze", "init_args": {"epochs": 1, "but": ["net.fc"]}}
SHORT = ["--dataset.per_class=4", "--epochs=2", "--no_test", "--save_every=1"]


class Recorder(pl.Callback):
    """Keeps the initial net and the batches; dies at a step, as a kill does."""

    def __init__(self, dies_at: int = 0) -> None:
        self.dies_at, self.batches, self.initial = dies_at, [], None

    def on_train_start(self, trainer, pl_module):
        self.initial = copy.deepcopy(pl_module.net)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch)

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.dies_at:
            raise KeyError("killed")


def callbacks(dies_at: int) -> str:
    recorder = {"class_path": f"{__name__}.Recorder", "init_args": {"dies_at": dies_at}}
    return f"--callbacks={json.dumps([FREEZE, recorder])}"


def weights(run: str) -> dict[str, torch.Tensor]:
    return torch.load(f"runs/{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_it_is_a_plain_loop_and_a_killed_run_ends_alike(run):
    run(PRETRAIN, "--limit_train_batches=2", "--epochs=1", "--no_test", "--name=pretrain")
    whole = run(CONFIG, *SHORT, callbacks(0), "--name=whole")
    [recorder] = [c for c in whole.trainer.callbacks if isinstance(c, Recorder)]
    net = recorder.initial
    before = weights("pretrain")
    assert torch.equal(net.conv1.weight, before["net.conv1.weight"])
    body = [p for name, p in net.named_parameters() if not name.startswith("fc.")]
    groups = [{"params": body, "lr": 0.001}, {"params": net.fc.parameters(), "lr": 0.01}]
    optimizer = torch.optim.AdamW(groups, fused=True)
    for step, (x, y) in enumerate(recorder.batches):
        net.train(step >= 2)  # two batches an epoch
        for p in body:
            p.requires_grad_(step >= 2)
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert len(recorder.batches) == 4
    for name, p in net.named_parameters():
        torch.testing.assert_close(whole.model.net.get_parameter(name), p, msg=name)
    for step in (1, 3):  # before and after the thaw
        with pytest.raises(SystemExit):
            run(CONFIG, *SHORT, callbacks(step), f"--name=cut{step}")
        run(CONFIG, *SHORT, callbacks(0), f"--name=cut{step}", "--resume")
        assert all(torch.equal(weights(f"cut{step}")[k], w) for k, w in weights("whole").items())


@pytest.mark.slow
def test_the_stated_result(run):
    run(PRETRAIN, "--name=pretrain")
    tuned = run(CONFIG).scores["test/acc"]
    scratch = run(CONFIG, "--net.weights=null", "--callbacks=[]", "--lr_factors=null").scores
    assert 0.65 < tuned < 1
    assert tuned > scratch["test/acc"]
