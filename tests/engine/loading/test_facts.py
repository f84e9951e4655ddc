"""A checkpoint's classes, mean, std and validation samples hold for the data at hand."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from memory import Memory, images
from PIL import Image

from lit_opt.datamodule import ImageData
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading import facts as facts_file
from lit_opt.engine.loading.facts import renumbered, row_hashes, sample_ids
from lit_opt.sources import Diabetes

FEW = {"val_fraction": 0.2}


class Named(Memory):
    """With names of the classes, which may differ from split to split."""

    def __init__(self, names, by_split=None, **splits) -> None:
        super().__init__(**splits)
        self.classes, self.by_split = names, by_split or {}

    def load(self, data_dir, split):
        self.classes = self.by_split.get(split, self.classes)
        return super().load(data_dir, split)


def fitted(source, **options) -> ImageData:
    dm = ImageData(source, **FEW | options)
    dm.setup("fit")
    return dm


def after(before, source, stage="fit", **options) -> ImageData:
    """A data module of today that was given the state of a checkpoint."""
    dm = ImageData(source, **FEW | options)
    dm.load_state_dict(before.state_dict())
    dm.setup(stage)
    return dm


def rows_of(dm, split) -> set[bytes]:
    data = dm.splits[split]
    return {x.numpy().tobytes() for x in data.x[data.rows]}


def picked(data, rows):
    return tuple(part[rows] for part in data)


def joined(*parts):
    return tuple(map(torch.cat, zip(*parts, strict=True)))


# ---- classes


KNOWN = ["bird", "cat", "dog"]


@pytest.mark.parametrize(
    ("names", "y", "expected"),
    [
        (["dog", "bird", "cat"], [0, 1, 2, 0], [2, 0, 1, 2]),
        (["dog", "cat"], [0, 1, 1], [2, 1, 1]),  # the data lacks a class
        (["cat", "cow"], [0, 0], [1, 1]),  # no sample is of the unknown one
        (None, [0, 1, 2], [0, 1, 2]),  # without names the numbers stay
        (["dog", "bird", "cat"], [[0, 255], [1, 2]], [[2, 255], [0, 1]]),  # masks, 255: no class
        (["dog", "cat"], [[1.0, 0.0], [0.25, 0.75]], [[0, 0, 1.0], [0, 0.75, 0.25]]),  # columns
    ],
    ids=["order", "fewer", "unused", "nameless", "masks", "soft labels"],
)
def test_labels_go_by_the_names_of_their_classes(names, y, expected):
    y = torch.tensor(y)
    out = renumbered("here", y, names, KNOWN, "the checkpoint")
    assert torch.equal(out, torch.tensor(expected, dtype=y.dtype))


@pytest.mark.parametrize("name", ["cow", "Cat"])
def test_a_class_that_the_checkpoint_does_not_know(name):
    for y in (torch.tensor([0, 1]), torch.eye(2)):
        with pytest.raises(UserError, match=f"class '{name}' is none of the checkpoint: bird, cat"):
            renumbered("here", y, ["dog", name], KNOWN, "the checkpoint")


def test_a_name_that_is_there_twice_is_not_guessed_at():
    twice = ["crane", "cat", "crane"]
    assert torch.equal(renumbered("", torch.arange(3), twice, twice, ""), torch.arange(3))
    with pytest.raises(UserError, match="two classes of one name"):
        renumbered("", torch.arange(3), ["cat", "crane", "crane"], twice, "")


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_the_order_of_the_checkpoint_is_that_of_every_stage(stage):
    data, test = images(50), images(13, seed=1)
    before = fitted(Named(KNOWN, train=data, test=test))
    turned = {split: (x, (y + 1) % 3) for split, (x, y) in (("train", data), ("test", test))}
    dm = after(before, Named(["dog", "bird", "cat"], **turned), stage)
    assert dm.class_names == KNOWN
    before.setup("test")
    for split, now in dm.splits.items():
        assert torch.equal(now.y, before.splits[split].y), split
        assert torch.equal(now.rows, before.splits[split].rows), split


def test_without_a_checkpoint_the_order_is_that_of_the_training_set():
    """A source whose names are those of the split that it has read last."""
    test = images(13, seed=1)
    by_split = {"train": KNOWN, "test": ["cat", "dog"]}
    shifted = picked(test, test[1] > 0)
    dm = fitted(Named(None, by_split, train=images(50), test=(shifted[0], shifted[1] - 1)))
    dm.setup("test")
    assert torch.equal(dm.splits["test"].y, shifted[1])
    assert dm.class_names == KNOWN


def test_names_that_only_one_of_both_has_are_no_error():
    before = fitted(Memory(train=images(50)))
    assert before.state_dict()["facts"]["classes"] is None
    assert after(before, Named(KNOWN, train=images(50)), "fit").splits["val"].y.max() == 2


# ---- sizes, mean and std


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_mean_and_std_stay_those_of_the_checkpoint(stage):
    x, y = images(50)
    test = images(13, seed=1)
    before = fitted(Memory(train=(x, y), test=test))
    darker = x.clone()
    darker[40:] //= 2  # most samples are known again
    dm = after(before, Memory(train=(darker, y), test=test), stage)
    expected, _ = before.on_after_batch_transfer(test, 0)
    assert torch.equal(dm.on_after_batch_transfer(test, 0)[0], expected)


def test_a_test_needs_no_training_set():
    before = fitted(Memory(train=images(50), test=images(13, seed=1)))
    source = Memory(test=images(13, seed=1))
    dm = ImageData(source)
    dm.keep(facts_file.facts_in({"ImageData": before.state_dict()}), needs="test")
    assert (dm.in_shape, dm.num_classes, dm.class_names) == ((2, 4, 5), 3, ["0", "1", "2"])
    dm.setup("test")
    out, _ = dm.on_after_batch_transfer(next(iter(dm.test_dataloader())), 0)
    before.setup("test")
    assert torch.equal(out, before.on_after_batch_transfer(source.splits["test"], 0)[0])


def test_normalize_given_anew_wins():
    source = Memory(train=images(50), test=images(13, seed=1))
    for first in (True, False):
        dm = after(fitted(source, normalize=first), source, "test", normalize=not first)
        fresh = fitted(source, normalize=not first)
        x = source.splits["test"]
        assert torch.equal(*(d.on_after_batch_transfer(x, 0)[0] for d in (dm, fresh)))


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_samples_of_another_shape(stage):
    before = fitted(Memory(train=images(50)))
    other = {split: images(20, shape=(2, 4, 6)) for split in ("train", "test")}
    with pytest.raises(UserError, match=r"\(2, 4, 6\); the checkpoint's net .* \(2, 4, 5\)"):
        after(before, Memory(**other), stage)


def test_targets_of_a_regression_have_a_number_and_no_names():
    before = fitted(Diabetes())
    facts = before.state_dict()["facts"]
    assert (facts["classes"], facts["num_classes"], facts["in_shape"]) == (None, 1, [10])
    assert after(before, Diabetes(), "test").class_names is None


# ---- the samples of the validation


def grown(data):
    return joined(images(30, seed=5), data)


def reordered(data):
    return picked(data, torch.arange(len(data[0])).flip(0))


def shrunk(data):
    return picked(data, torch.arange(8, len(data[0])))


def relabelled(data):
    return data[0], (data[1] + (torch.arange(len(data[1])) < 5)) % 3


CHANGES = [grown, reordered, shrunk, relabelled]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_no_sample_once_trained_on_is_validated(change, capsys):
    data = images(50)
    before = fitted(Memory(train=data))
    source = Memory(train=change(data))
    dm = after(before, source)
    now = {x.numpy().tobytes() for x in source.splits["train"][0]}
    assert rows_of(dm, "val") == rows_of(before, "val") & now
    assert rows_of(dm, "train") == now - rows_of(before, "val")
    [line] = capsys.readouterr().err.splitlines()
    assert "it had 40 + 10 training + validation samples, now " in line
    again = after(dm, source)  # nothing has changed since
    assert rows_of(again, "val") == rows_of(dm, "val")
    assert not capsys.readouterr().err


def test_unchanged_data_is_cut_as_ever_and_nothing_is_said(capsys):
    """Also where a validation sample has an equal one among those that are trained on."""
    x, y = images(50)
    x[1::2], y[1::2] = x[::2].clone(), y[::2].clone()
    before = fitted(Memory(train=(x, y)))
    for stage in ("fit", "validate"):
        dm = after(before, Memory(train=(x, y)), stage)
        for split in ("train", "val"):
            assert torch.equal(dm.splits[split].rows, before.splits[split].rows)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("options", [{"split_seed": 3}, {"val_fraction": 0.5}, {"val_fraction": 0}])
def test_another_cut_is_not_taken_within_a_run(options):
    before = fitted(Memory(train=images(50)))
    dm = after(before, Memory(train=images(50)), **options)
    assert rows_of(dm, "val") == rows_of(before, "val")
    assert rows_of(dm, "train") == rows_of(before, "train")


@pytest.mark.parametrize(
    "own", [images(20, seed=3), picked(images(50), torch.arange(20))], ids=["new", "trained on"]
)
def test_a_validation_set_that_is_new_takes_no_part_in_a_run(own):
    before = fitted(Memory(train=images(50)))
    dm = after(before, Memory(train=images(50), val=own))
    assert rows_of(dm, "val") == rows_of(before, "val")


def test_samples_moved_from_train_to_val_are_not_validated():
    data, own = images(50), images(12, seed=3)
    before = fitted(Memory(train=data, val=own))
    moved = joined(own, picked(data, torch.arange(5)))
    dm = after(before, Memory(train=picked(data, torch.arange(5, 50)), val=moved))
    assert rows_of(dm, "val") == rows_of(before, "val")


def test_validation_moved_into_the_training_set_stays_validation():
    data, own = images(50), images(12, seed=3)
    before = fitted(Memory(train=data, val=own))
    dm = after(before, Memory(train=joined(data, own)))
    assert rows_of(dm, "val") == rows_of(before, "val")
    assert rows_of(dm, "train") == rows_of(before, "train")


@pytest.mark.parametrize("first", [{}, {"val_fraction": 0.0}], ids=["other data", "all trained on"])
def test_a_run_whose_validation_samples_are_gone_is_not_continued(first):
    before = fitted(Memory(train=images(50)), **first)
    changed = images(50, seed=9) if not first else images(50)
    with pytest.raises(UserError, match=r"now .*;\n.*set --data_dir,\n--val_fraction.*--name NEW"):
        after(before, Memory(train=changed))


def test_a_run_without_validation_goes_on_without_one(capsys):
    before = fitted(Memory(train=images(50)), val_fraction=0.0)
    dm = after(before, Memory(train=images(50)), val_fraction=0.0)
    assert list(dm.splits) == ["train"]
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (grown(images(50)), None),  # all of the validation set is there
        (picked(images(50), torch.arange(15, 50)), "now "),
        (images(50, seed=9), "may be among those that it was trained on"),
    ],
    ids=["grown", "shrunk", "other data"],
)
def test_validate_says_whether_it_is_the_set_of_the_training(data, told, capsys):
    before = fitted(Memory(train=images(50)))
    dm = after(before, Memory(train=data), "validate")
    assert not rows_of(dm, "val") & rows_of(before, "train")
    err = capsys.readouterr().err
    assert told in err if told else not err


def test_a_new_run_from_a_checkpoint_may_have_other_data(capsys):
    known = fitted(Named(KNOWN, train=images(50)))
    facts = facts_file.facts_in({"ImageData": known.state_dict()})
    other = images(40, num_classes=2, seed=8)
    for names, classes in ((["cow", "dog"], ["cow", "dog"]), (["cat", "dog"], KNOWN)):
        dm = ImageData(Named(names, train=other), **FEW)
        dm.keep(facts, continues=False)
        dm.setup("fit")
        dm.load_state_dict(known.state_dict())  # as Lightning does it
        assert dm.class_names == classes
        assert dm.splits["train"].y.max() == len(classes) - 1
        fresh = fitted(Memory(train=other))
        assert torch.equal(dm.normalizer.shift, fresh.normalizer.shift)
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_samples_too_large_to_be_read_are_not_known_again(monkeypatch):
    monkeypatch.setattr(facts_file, "TOO_LARGE", 100)
    data = images(50)
    before = fitted(Memory(train=data))
    assert before.facts.val_ids is None
    assert torch.equal(
        after(before, Memory(train=data)).splits["val"].rows, before.splits["val"].rows
    )
    with pytest.raises(UserError, match="not that of the run"):
        after(before, Memory(train=grown(data)))


# ---- by what a sample is known


@pytest.mark.parametrize(
    "x",
    [
        torch.arange(200),
        torch.randn(300, 7),
        torch.randint(0, 256, (5000, 3, 5, 5), dtype=torch.uint8),
        torch.randint(0, 2, (300, 31)) > 0,
        torch.eye(64, dtype=torch.uint8).view(64, 1, 8, 8),
        2 * torch.eye(700)[100:500],
    ],
    ids=["labels", "table", "images", "bool", "one pixel", "long rows"],
)
def test_hashes_differ_where_samples_do_and_do_not_depend_on_the_place(x):
    hashes = row_hashes(x)
    assert len(hashes.unique()) == len(x.flatten(1).unique(dim=0) if x.ndim > 1 else x.unique())
    order = torch.randperm(len(x))
    assert torch.equal(row_hashes(x[order]), hashes[order])
    assert torch.equal(row_hashes(x[order][:3]), hashes[order][:3])


def test_hashes_are_those_of_the_checkpoints_that_are_there():
    """Whatever the version of torch: they are arithmetic, with no random numbers."""
    assert row_hashes(torch.tensor([[1, 2]])).tolist() == [_hash_by_hand([1, 2])]


def _hash_by_hand(words):
    golden, total = 0x9E3779B97F4A7C15, 0
    for k, word in enumerate(words):
        total += word * golden ** (k + 1)
    total %= 2**64
    return total - 2**64 if total >= 2**63 else total


def test_names_that_are_no_text_and_too_few_names():
    x = torch.zeros(2, 1)
    ids = sample_ids("here", x, ["a\udcff", "b"])
    assert ids[0] != ids[1]
    with pytest.raises(UserError, match="2 samples but 1"):
        sample_ids("here", x, ["a"])


# ---- from the command line, with folders of images


def fill(folder: Path, colour, n=10, dark=1, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for k in range(n):
        pixels = (random.integers(60, 90, (4, 4, 3)) + np.array(colour)) // dark
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k}.png")


COLOURS = {"ant": (120, 0, 0), "bee": (0, 120, 0), "cow": (0, 0, 120)}
FIT = ["--net.hidden=[8]", "--epochs=3", "--lr=0.03", "--batch_size=9", "--data_dir=d"]
FIT += ["--dataset=ImageFolder", "--dataset.cache=false"]
BEST = "runs/a/checkpoints/best.ckpt"


@pytest.fixture
def folders(run):
    """A run `a` on three classes that scores 100 %."""
    for k, (name, colour) in enumerate(COLOURS.items()):
        fill(Path("d/train", name), colour, seed=k)
        fill(Path("d/test", name), colour, n=3, seed=10 + k)
    run("fit", "--name=a", "--no_test", *FIT)
    scores = run("test", f"--ckpt_path={BEST}").scores
    assert scores["test/acc"] == 1
    return scores


def test_scores_stay_whatever_happens_to_the_training_folder(folders, run, fails):
    for change in (
        lambda: fill(Path("d/train/ant"), COLOURS["ant"], dark=4),
        lambda: Path("d/train/ant").rename("d/train/zebra"),
        lambda: (shutil.rmtree("d/train"), shutil.rmtree("d/test/ant")),
    ):
        change()
        scores = run("test", f"--ckpt_path={BEST}").scores
        assert scores["test/acc"] == 1
        if Path("d/test/ant").exists():
            assert scores == folders
    run("predict", f"--ckpt_path={BEST}")
    lines = Path("runs/a/predictions.csv").read_text().splitlines()[1:]
    assert [line.split(",")[2] for line in lines] == ["bee"] * 3 + ["cow"] * 3
    Path("d/test/bee").rename("d/test/Bee")
    error = fails("test", f"--ckpt_path={BEST}")
    assert "test/Bee' is a class that the checkpoint doesn't have: ant, bee, cow" in error


@pytest.mark.slow
def test_a_resume_keeps_the_meaning_of_its_classes(folders, run, fails, capsys):
    more = ["--resume", "--name=a", "--no_test", "--epochs=4"]
    Path("d/train/ant").rename("d/train/zebra")
    assert "zebra' is a class that the checkpoint doesn't have: ant" in fails("fit", *more)
    shutil.rmtree("d/train/zebra")
    fill(Path("d/train/bee"), COLOURS["bee"], n=15, seed=1)
    capsys.readouterr()
    data = run("fit", *more).datamodule
    err = capsys.readouterr().err
    assert err.count("warning:") == 1
    assert "it had 27 + 3 training + validation samples, now" in err
    assert "none of ant; no sample once trained on is validated" in err
    assert data.class_names == list(COLOURS)
    assert run("test", "--ckpt_path=runs/a/checkpoints/last.ckpt").scores["test/acc"] == 1


@pytest.mark.slow
def test_other_data_in_a_new_run(folders, run, capsys):
    for name in ("cow", "dog", "elk"):
        fill(Path("e/train", name), COLOURS.get(name, (90, 90, 90)), seed=3)
    capsys.readouterr()
    words = ["fit", "--name=b", f"--ckpt_path={BEST}", "--data_dir=e", "--epochs=4", "--no_test"]
    data = run(*words).datamodule
    assert "the data is not that of the checkpoint: it had 27 + 3" in capsys.readouterr().err
    assert data.class_names == ["cow", "dog", "elk"]
