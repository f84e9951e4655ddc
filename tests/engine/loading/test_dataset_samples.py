"""Sources that give a `Dataset`: the same batches as by torchvision and a plain loop by hand."""

import gc
import os
import random
import signal
import threading
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import main
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import Dataset, IterableDataset
from torchvision.transforms import v2

from lit_opt.datamodule import ImageData
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import DenseClasses, MultiLabel, Regression
from lit_opt.engine.loading.seeding import all_seeders, seed_for
from lit_opt.engine.loading.workers import _end_workers
from lit_opt.sources import Source

IMAGENET = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


class Pictures(Dataset):
    """Pictures of PIL in three sizes, labels as numbers; `reads` counts what has been read."""

    def __init__(self, rows, told=True):
        images, labels = load_digits(return_X_y=True)
        self.images, self.labels, self.reads = images[rows].reshape(-1, 8, 8), labels[rows], 0
        self.classes = [f"digit {k}" for k in range(10)]
        if told:
            self.targets = self.labels.tolist()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        self.reads += 1
        picture = Image.fromarray((self.images[row] * 15).astype(np.uint8))
        return picture.resize((10 + row % 3, 12)).convert("RGB"), int(self.labels[row])


class Lazy(Source):
    """Args:
    told: Whether the labels are known without reading.
    """

    def __init__(self, told: bool = True):
        self.told = told

    def load(self, data_dir, split):
        rows = {"train": slice(0, 200), "val": None, "test": slice(200, 250)}[split]
        return Pictures(rows, self.told) if rows else None


class Noisy(Dataset):
    """Draws from all three generators; floats (3,) and one number."""

    def __len__(self):
        return 40

    def __getitem__(self, row):
        x = [random.random(), np.random.rand(), torch.rand(()).item()]
        return torch.tensor(x), float(row)


class NoisySource(Source):
    targets = Regression()
    num_classes = 1

    def load(self, data_dir, split):
        return Noisy() if split != "val" else None


class Of(Source):
    """Whatever it is given."""

    def __init__(self, loaded, targets=None, num_classes=None):
        self.loaded, self.targets, self.num_classes = loaded, targets, num_classes

    def load(self, data_dir, split):
        return self.loaded if split != "val" else None


def made(source, stage="fit", **options):
    data = ImageData(source, **options)
    data.prepare_data()
    data.setup(stage)
    return data


def sizes():
    return {"eval_transforms": [v2.Resize(10), v2.CenterCrop(8)]}


def by_hand(dataset, rows, *more):
    steps = v2.Compose([v2.ToImage(), v2.Resize(10), v2.CenterCrop(8), *more])
    return torch.stack([steps(dataset[int(row)][0]) for row in rows])


def test_validation_is_cut_alike_and_batches_are_torchvisions():
    data = made(Lazy(), normalize="imagenet", eval_batch_size=7, **sizes())
    assert data.in_shape == (3, 8, 8)
    assert data.num_classes == 10
    assert data.class_names == [f"digit {k}" for k in range(10)]
    labels = torch.from_numpy(load_digits(return_X_y=True)[1][:200])
    val, train = data.splits["val"].rows, data.splits["train"].rows
    assert sorted([*val.tolist(), *train.tolist()]) == list(range(200))
    share = labels[val].bincount(minlength=10) - labels.bincount(minlength=10) / 10
    assert share.abs().max() <= 1  # every class is in the validation by its share
    batches = list(data.val_dataloader())
    x = torch.cat([data.on_after_batch_transfer(batch, 0)[0] for batch in batches])
    floats = v2.ToDtype(torch.float32, scale=True), IMAGENET
    torch.testing.assert_close(x, by_hand(Pictures(slice(200)), val, *floats))
    assert torch.equal(torch.cat([y for _, y in batches]), labels[val])


def test_nothing_is_read_before_it_is_asked_for():
    data = made(Lazy(), normalize=False, **sizes())
    assert data.splits["train"].dataset.reads == 2
    counted = made(Lazy(), **sizes())
    x = by_hand(Pictures(slice(200)), counted.splits["train"].rows) / 255.0
    mean, std = counted.normalizer.moments
    torch.testing.assert_close(mean, x.mean((0, 2, 3)).double(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(std, x.std((0, 2, 3), correction=0).double(), atol=1e-4, rtol=1e-4)


def epoch_of(data, epoch, skip=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    if skip:
        loader.load_state_dict({**loader.state_dict(), "epoch": epoch, "batch": skip})
    return list(loader)


@pytest.mark.parametrize("workers", [0, 2])
def test_random_numbers_of_a_batch_depend_on_epoch_and_samples(workers):
    data = made(NoisySource(), batch_size=8, num_workers=workers)
    first, second = epoch_of(data, 0), epoch_of(data, 1)
    again = epoch_of(data, 0, skip=2)
    x = torch.cat([x for x, _ in (*first, *second)])
    assert len(x.unique(dim=0)) == len(x)
    assert all(torch.equal(a, b) for a, b in zip(first[2][0].T, again[0][0].T, strict=True))
    assert len(again) == len(first) - 2
    if workers:
        alone = epoch_of(made(NoisySource(), batch_size=8), 1)
        assert all(torch.equal(a[0], b[0]) for a, b in zip(second, alone, strict=True))


def test_training_transforms_are_torchvisions_by_hand():
    crop = [v2.RandAugment(), v2.RandomResizedCrop(8), v2.ColorJitter(0.3)]
    data = made(Lazy(), batch_size=16, transforms=crop, **sizes())
    loader = data.train_dataloader()
    x, y = next(iter(loader))
    loader.dataset.seed, rows = 0, data.splits["train"].rows[loader.sampler.order()[:16]]
    seed_for(all_seeders(), (0, 0, rows.tolist()))
    pictures, steps = Pictures(slice(200)), v2.Compose([v2.ToImage(), *crop])
    assert torch.equal(x, torch.stack([steps(pictures[int(row)][0]) for row in rows]))
    assert torch.equal(y, torch.from_numpy(pictures.labels)[rows])


def test_floats_of_transforms_and_normalize_mean_what_torchvision_means():
    steps = [v2.ToDtype(torch.float32, scale=True), IMAGENET]
    expected = by_hand(Pictures(slice(200)), [5], *steps)
    resize = sizes()["eval_transforms"]
    for eval_transforms in ([*resize, *steps], [*resize, IMAGENET]):
        train = {"transforms": eval_transforms, "normalize": False, "batch_size": 16}
        data = made(Lazy(), eval_transforms=eval_transforms, **train)
        raw = data.train_dataloader().dataset.__getitems__([3])
        row = data.splits["train"].rows[3]
        expected = by_hand(Pictures(slice(200)), [row], *steps)
        torch.testing.assert_close(data.on_after_batch_transfer(raw, 0)[0], expected)
    with pytest.raises(UserError, match="normalize imagenet"):
        made(Lazy(), transforms=[IMAGENET], **sizes())
    floats = {"transforms": [*resize, steps[0]], "normalize": "imagenet", **sizes()}
    data = made(Lazy(), **floats)
    raw = data.train_dataloader().dataset.__getitems__([3])
    expected = by_hand(Pictures(slice(200)), [data.splits["train"].rows[3]], *steps)
    torch.testing.assert_close(data.on_after_batch_transfer(raw, 0)[0], expected)


class Pairs(Dataset):
    def __init__(self, *pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, row):
        return self.pairs[row]


class Endless(IterableDataset):
    def __iter__(self):
        yield IMAGE, 0


class Kill(pl.Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 8:
            os.kill(os.getpid(), signal.SIGTERM)


IMAGE = torch.zeros(3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (Of(Pairs()), {}, ("no samples",)),
        (Of(iter([])), {}, ("--data",)),
        (Of(Endless()), {}, ("--data",)),
        (Of(Pairs((IMAGE, 0), (IMAGE, 1))), {}, ("num_classes", "targets")),
        (Of(Pairs((IMAGE, 7), (IMAGE, 1)), None, 3), {}, ("label 7", "0 to 2")),
        (Of(Pairs((IMAGE, 0), (IMAGE[:, 1:], 1)), None, 2), {}, ("--eval_transforms",)),
        (Of(Pairs((IMAGE, 0.5), (IMAGE, 0.1)), None, 2), {}, ("set `targets`",)),
        (Of(Pairs((IMAGE, 0)), None, 2), {"normalize": {"mean": [0.5], "std": [1]}}, ("1 chan",)),
        (Of(Pairs((IMAGE, 0)), None, 2), {"normalize": "imagenette"}, ("imagenet,",)),
    ],
)
def test_what_does_not_fit_is_told(source, options, words):
    with pytest.raises(UserError) as told:
        made(source, val_fraction=0, **options)
    assert all(word in str(told.value) for word in words), told.value


def test_without_known_labels_the_cut_is_at_random_and_balance_asks_for_them():
    data = made(Lazy(told=False), balanced=True, **sizes())
    assert len(data.splits["val"]) == 20
    with pytest.raises(UserError, match=r"(?s)--balanced asks for .* `targets`"):
        data.train_dataloader()


# Threads that write to workers find their pipes closed when the workers were killed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_wrong_label_later_on_is_told_in_plain_words(workers):
    pairs = Pairs(*[(IMAGE, 0)] * 6, (IMAGE, 5))
    data = made(Of(pairs, None, 2), val_fraction=0, num_workers=workers)
    with pytest.raises(UserError, match=r"^Of 'train': label 5") as told:
        list(data.train_dataloader())
    text = str(told.value)
    assert "Traceback" not in text
    assert "the samples [" in text
    _end_workers()  # else the garbage collector waits 10 s for them
    del told  # and with it the loader: its threads end here, not in a later test
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join(5)


def test_targets_of_any_kind_and_masks_go_with_their_images():
    mask = torch.arange(64).view(8, 8) % 4
    image = (mask * 10).to(torch.uint8)[None]
    flip = [v2.RandomHorizontalFlip(1.0)]
    source = Of(Pairs(*[(image, mask)] * 4), DenseClasses(), 4)
    data = made(source, transforms=flip, val_fraction=0, normalize=False)
    x, y = next(iter(data.train_dataloader()))
    assert torch.equal(y, mask.flip(1).expand(4, 8, 8))
    assert torch.equal(x[:, 0].long(), 10 * y)
    labels = Of(Pairs(*[(image, [1, 0, 1])] * 4), MultiLabel())
    x, y = next(iter(made(labels, val_fraction=0).train_dataloader()))
    assert (y.dtype, y.tolist()[0]) == (torch.float32, [1.0, 0.0, 1.0])


WORDS = [f"--dataset={__name__}.Lazy", "--net=ConvNet", "--epochs=2", "--batch_size=32"]
WORDS += ["--transforms=[RandAugment,{class_path: RandomResizedCrop, init_args: {size: 8}}]"]
WORDS += ["--eval_transforms=[{class_path: Resize, init_args: {size: [8, 8]}}]"]
WORDS += ["--normalize=imagenet", "--resume"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_it_ends_with_the_same_weights(workers):
    words = [*WORDS, f"--num_workers={workers}"]
    main([*words, "--name=whole"])
    with pytest.raises(SystemExit):
        main([*words, "--name=x", f"--callbacks+={__name__}.Kill"])
    main([*words, "--name=x"])
    ends = [torch.load(f"runs/{name}/checkpoints/last.ckpt") for name in ("whole", "x")]
    weights = [end["state_dict"] for end in ends]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    facts = [end["ImageData"]["facts"] for end in ends]
    assert facts[0]["classes"] == [f"digit {k}" for k in range(10)]
    assert facts[0]["counts"] == {"train": 180, "val": 20}
    assert Path("runs/x/metrics.csv").read_text() == Path("runs/whole/metrics.csv").read_text()
    main(["predict", "--ckpt_path=runs/x/checkpoints/last.ckpt"])
    assert "digit" in Path("runs/x/predictions.csv").read_text()
