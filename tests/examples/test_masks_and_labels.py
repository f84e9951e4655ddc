"""The examples of segmentation and of several labels: stopped inside an epoch and run again."""

import os
import signal

import lightning.pytorch as pl
import pytest
import torch
from conftest import ROOT, main


class Stop(pl.Callback):
    """Sends this process SIGTERM after optimizer step `step`, once."""

    step = 0

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == Stop.step:
            Stop.step = 0
            os.kill(os.getpid(), signal.SIGTERM)


SMALL = {"segmentation": ["--net.width=2", "--batch_size=300"], "multilabel": ["--batch_size=900"]}


@pytest.mark.slow
@pytest.mark.parametrize("example", SMALL)
def test_stopped_inside_an_epoch_it_ends_with_the_weights_of_the_whole_run(example):
    words = [f"--config={ROOT}/examples/{example}/config.yaml", "--epochs=2", "--resume"]
    words += [f"--callbacks=[{__name__}.Stop]", "--no_test", *SMALL[example]]
    main([*words, "--name=whole"])
    Stop.step = 5 if example == "multilabel" else 4
    with pytest.raises(SystemExit):
        main([*words, "--name=cut"])
    main([*words, "--name=cut"])
    whole, cut = (
        torch.load(f"runs/{name}/checkpoints/last.ckpt", weights_only=True)
        for name in ("whole", "cut")
    )
    assert whole["global_step"] == cut["global_step"]
    assert all(torch.equal(v, cut["state_dict"][k]) for k, v in whole["state_dict"].items())
