"""The endless stream: killed and resumed to the bit; a stream that can't say where it is."""

import pytest
import torch
from conftest import ROOT
from recorder import weights

from examples.stream.stream import Questions

CONFIG = f"--config={ROOT}/examples/stream/config.yaml"
SHORT = [CONFIG, "--max_steps=20", "--save_every=4", "--val_check_interval=10", "--batch_size=8"]


def killed_and_resumed(run) -> None:
    run(*SHORT, "--name=whole")
    with pytest.raises(SystemExit):
        run(*SHORT, "--name=cut", "--callbacks+=recorder.Kill", "--callbacks.dies_at=11")
    step = torch.load("runs/cut/checkpoints/last.ckpt", weights_only=True)["global_step"]
    assert step in (8, 10)  # of save_every or of the validation
    assert run(*SHORT, "--name=cut", "--resume", "--callbacks=[]").trainer.global_step == 20


def test_killed_and_resumed_it_ends_as_the_uninterrupted_run(run, capsys):
    killed_and_resumed(run)
    assert weights("whole") == weights("cut")
    assert "begins anew" not in capsys.readouterr().err


def test_without_state_dict_the_resume_says_so(run, capsys, monkeypatch):
    monkeypatch.delattr(Questions, "state_dict")
    monkeypatch.delattr(Questions, "load_state_dict")
    killed_and_resumed(run)
    assert weights("whole") != weights("cut")
    assert "the training data can't say where it was: it begins anew" in capsys.readouterr().err


@pytest.mark.slow
def test_the_stated_result(run):
    assert run(CONFIG).scores["val/loss"] < 0.01
