"""The autoencoder and the GAN: plain loops, PCA, a kill, the stated results."""

import copy
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from sklearn.decomposition import PCA

from examples.gan.digits import Copies

GAN = f"--config={ROOT}/examples/gan/gan.yaml"
AUTOENCODER = f"--config={ROOT}/examples/gan/autoencoder.yaml"
SHORT = ["--limit_train_batches=6", "--epochs=2", "--no_test", "--save_every=4"]


class Recorder(pl.Callback):
    """Keeps the initial model and the batches; dies at a step, as a kill does."""

    def __init__(self, dies_at: int = 0) -> None:
        self.dies_at, self.batches, self.initial = dies_at, [], None

    def on_train_start(self, trainer, pl_module):
        self.initial = copy.deepcopy((pl_module.generator, pl_module.critic))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append((batch[0].flatten(1), torch.get_rng_state()))

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.dies_at:
            raise KeyError("killed")


def weights(run: str) -> dict[str, torch.Tensor]:
    return torch.load(f"runs/{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_the_gan_is_a_plain_loop_bit_for_bit(run):
    done = run(GAN, *SHORT, f"--callbacks+={__name__}.Recorder")
    [recorder] = [c for c in done.trainer.callbacks if isinstance(c, Recorder)]
    generator, critic = recorder.initial
    of_generator, of_critic = (
        torch.optim.Adam(net.parameters(), 1e-3, betas=(0.5, 0.99)) for net in (generator, critic)
    )
    for real, state in recorder.batches:
        torch.set_rng_state(state)
        fake = generator(torch.randn(len(real), 16))
        of_critic.zero_grad()
        real_loss, fake_loss = F.softplus(-critic(real)), F.softplus(critic(fake.detach()))
        (real_loss.mean() + fake_loss.mean()).backward()
        of_critic.step()
        of_generator.zero_grad()
        F.softplus(-critic(fake)).mean().backward()
        of_generator.step()
    for ours, plain in ((done.model.generator, generator), (done.model.critic, critic)):
        pairs = zip(ours.parameters(), plain.parameters(), strict=True)
        assert all(torch.equal(p, q) for p, q in pairs)
    assert len(recorder.batches) == 12


@pytest.mark.parametrize(("config", "step"), [(GAN, 18), (AUTOENCODER, 9)], ids=["gan", "ae"])
def test_killed_and_resumed_it_ends_as_the_uninterrupted_run(run, config, step):
    """`global_step` counts a step of the GAN as two, `--save_every` as one."""
    run(config, *SHORT, "--name=whole")
    kill = f'[{{"class_path": "recorder.Kill", "init_args": {{"dies_at": {step}}}}}]'
    with pytest.raises(SystemExit):
        run(config, *SHORT, "--name=cut", f"--callbacks={kill}")
    run(config, *SHORT, "--name=cut", "--resume", "--callbacks=[]")
    assert all(torch.equal(weights("cut")[key], value) for key, value in weights("whole").items())


@pytest.mark.slow
def test_the_autoencoder_beats_pca_of_as_many_numbers(run):
    scores = run(AUTOENCODER).scores
    train, test = (Copies().load(Path(), split)[0].numpy() for split in ("train", "test"))
    pca = PCA(8).fit(train)
    restored = pca.inverse_transform(pca.transform(test))
    assert scores["test/loss"] < ((restored - test) ** 2).mean()


@pytest.mark.slow
def test_the_gan_comes_near(run):
    assert run(GAN).scores["test/pixels"] < 0.8
