"""A fit on loaders of the user's own goes on inside an epoch as if it had not been stopped."""

import random
from itertools import count
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    WeightedRandomSampler,
)

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.runs.resume.replay_training import ReplayTraining
from lit_opt.engine.runs.resume.training_state import RunningScores

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*treespec", "ignore:.*has `__len__` defined"
)


class Noisy(Dataset):
    """Samples with noise of torch, Python and numpy."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        noise = torch.rand(3) + random.random() + np.random.rand()
        return noise + index


class Stream(IterableDataset):
    """Numbers without an end, with noise; it can say where it is."""

    at = 0

    def __iter__(self):
        while True:
            self.at += 1
            yield torch.rand(3) + self.at

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


class Sized(Stream):
    def __iter__(self):
        for _ in range(20):
            self.at += 1
            yield torch.rand(3) + self.at

    def __len__(self):
        return 20


class Forgetful(IterableDataset):
    def __iter__(self):
        yield from torch.ones(20, 3)


class Grouped(BatchSampler):
    """Batches of two kinds of samples, in an order of Python's random numbers."""

    def __iter__(self):
        batches = [list(range(i, i + 4)) for i in range(0, 20, 4)]
        random.shuffle(batches)
        return iter(batches)


LOADERS = {
    "shuffled": lambda: DataLoader(Noisy(), 4, shuffle=True),
    "in order": lambda: DataLoader(Noisy(), 4),
    "generator": lambda: DataLoader(Noisy(), 4, shuffle=True, generator=torch.Generator()),
    "weighted": lambda: DataLoader(Noisy(), 4, sampler=WeightedRandomSampler([1.0] * 20, 20)),
    "own batches": lambda: DataLoader(
        Noisy(), batch_sampler=Grouped(RandomSampler(Noisy()), 4, False)
    ),
    "one by one": lambda: DataLoader(Noisy(), batch_size=None, shuffle=True),
    "several": lambda: {"a": DataLoader(Noisy(), 4, shuffle=True), "b": DataLoader(Noisy(), 10)},
    "shortest": lambda: CombinedLoader(
        [DataLoader(Noisy(), 4, shuffle=True), DataLoader(Noisy(), 2)], "min_size"
    ),
    "stream": lambda: DataLoader(Stream(), 4),
    "sized": lambda: DataLoader(Sized(), 4),
    "workers": lambda: DataLoader(Noisy(), 4, shuffle=True, num_workers=2),
    "persistent": lambda: DataLoader(
        Noisy(), 4, shuffle=True, num_workers=2, persistent_workers=True
    ),
}


class Net(pl.LightningModule):
    """Dropout, and a schedule that asks for the length before the state is restored."""

    def __init__(self, loader) -> None:
        super().__init__()
        self.loader, self.seen = loader, []
        self.net = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 1))

    def train_dataloader(self):
        return self.loader()

    def training_step(self, batch, batch_idx):
        parts = list(batch.values()) if isinstance(batch, dict) else batch
        x = torch.cat(list(parts)) if isinstance(parts, list) else parts
        self.seen.append(float(x.sum()))
        return self.net(x.reshape(-1, 3)).square().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 1e-4)
        _ = self.trainer.estimated_stepping_batches
        return optimizer


class SaveAt(pl.Callback):
    def __init__(self, step) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            trainer.save_checkpoint("inside.ckpt")
            trainer.should_stop = True
            trainer.fit_loop.epoch_loop.max_steps = self.step


def fit(quiet_trainer, loader, steps=13, ckpt_path=None, stop=None):
    pl.seed_everything(1)
    torch.rand(0 if ckpt_path is None else 7)  # a new process has other random numbers
    net = Net(loader)
    with torch.no_grad():
        net.net[1].weight.fill_(0.1)
    callbacks = [ReplayTraining(), RunningScores(), *([SaveAt(stop)] if stop else [])]
    trainer = quiet_trainer(max_epochs=-1, max_steps=stop or steps, callbacks=callbacks)
    trainer.fit(net, ckpt_path=ckpt_path)
    return net


@pytest.mark.parametrize("stop", [5, 8])  # the end of an epoch, and inside one
@pytest.mark.parametrize("name", LOADERS)
def test_an_epoch_is_gone_on_with(quiet_trainer, name, stop):
    if name in ("workers", "persistent") and stop == 5:
        pytest.skip("the end of an epoch is the same with workers")
    whole = fit(quiet_trainer, LOADERS[name])
    begun = fit(quiet_trainer, LOADERS[name], stop=stop)
    assert begun.seen == whole.seen[:stop]
    rest = fit(quiet_trainer, LOADERS[name], ckpt_path="inside.ckpt")
    assert rest.seen == whole.seen[stop:]
    assert torch.equal(rest.net[1].weight, whole.net[1].weight)
    assert len(set(whole.seen)) == len(whole.seen)  # each epoch has numbers of its own


class SaveCut(pl.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.global_step == trainer.max_steps:
            trainer.save_checkpoint("cut.ckpt")


@pytest.mark.parametrize("name", ["shuffled", "workers"])
def test_an_epoch_that_max_steps_has_cut_is_gone_on_with(quiet_trainer, name):
    whole = fit(quiet_trainer, LOADERS[name])
    saving = lambda **options: quiet_trainer(  # noqa: E731
        **options | {"callbacks": [*options["callbacks"], SaveCut()]}
    )
    assert fit(saving, LOADERS[name], steps=8).seen == whole.seen[:8]
    rest = fit(quiet_trainer, LOADERS[name], ckpt_path="cut.ckpt")
    assert rest.seen == whole.seen[8:]
    assert torch.equal(rest.net[1].weight, whole.net[1].weight)


def test_workers_make_no_difference(quiet_trainer):
    assert (
        fit(quiet_trainer, LOADERS["workers"]).seen == fit(quiet_trainer, LOADERS["shuffled"]).seen
    )


def test_an_epoch_holds_every_sample_once(quiet_trainer):
    whole = fit(quiet_trainer, lambda: DataLoader(Indices(), 4, shuffle=True), steps=10)
    assert sorted(whole.seen[:5]) != sorted(whole.seen[5:])
    assert sum(whole.seen[:5]) == sum(whole.seen[5:]) == 3 * sum(range(20))


class Indices(Noisy):
    def __getitem__(self, index):
        return torch.full((3,), float(index))


class Endless(Sampler):
    def __iter__(self):
        return count()


class Ones(Dataset):
    def __getitem__(self, index):
        return torch.ones(3) + index


@pytest.mark.parametrize("data", [Forgetful(), (Ones(), Endless())])
def test_data_that_can_not_say_where_it_was_begins_anew_and_says_so(quiet_trainer, capsys, data):
    parts = {"dataset": data} if isinstance(data, Forgetful) else {}
    parts = parts or {"dataset": data[0], "sampler": data[1]}
    fit(quiet_trainer, lambda: DataLoader(batch_size=4, **parts), stop=8)
    fit(quiet_trainer, lambda: DataLoader(batch_size=4, **parts), ckpt_path="inside.ckpt")
    assert "can't say where it was: it begins anew at step 8" in capsys.readouterr().err
    assert Path("inside.ckpt").is_file()


def test_another_number_of_batches_inside_an_epoch_is_refused(quiet_trainer):
    fit(quiet_trainer, LOADERS["shuffled"], stop=8)
    with pytest.raises(UserError, match="epoch 2, of 5 training batches; now there are 10"):
        fit(quiet_trainer, lambda: DataLoader(Noisy(), 2, shuffle=True), ckpt_path="inside.ckpt")
