import pytest
import torch
from memory import Memory, images

from lit_opt.datamodule import ImageData
from lit_opt.engine.base.errors import UserError

NAN = torch.full((4, 2), torch.nan)
X, Y = images(4)


@pytest.mark.parametrize(
    ("split", "stage", "data", "message"),
    [
        ("train", "fit", (torch.zeros(4), Y), r"x is torch.float32 \(4,\)"),
        ("train", "fit", (X[0], Y), r"x is torch.uint8 \(2, 4, 5\)"),
        ("train", "fit", (X, Y[:, None]), r"y is torch.int64 \(4, 1\), .*\nset `targets`"),
        ("train", "fit", (X, torch.zeros(4, 1)), r"y is torch.float32 \(4, 1\), .*\nset `targets`"),
        ("train", "fit", (X, Y[:3]), "4 samples but 3 labels"),
        ("train", "fit", images(0), "no samples"),
        ("train", "fit", (X[:3], torch.tensor([0, -1, 2])), "label -1 at .* 1 .*\nexpected 0 to 2"),
        ("train", "fit", (NAN, torch.zeros(4, 1)), "x is nan at sample 0, column 0"),
        ("train", "fit", (torch.zeros(4, 2), NAN), "y is nan at sample 0, column 0"),
        ("test", "test", images(12, num_classes=4), r"label 3 at sample 3 \(3 such.*\n.* 0 to 2"),
        ("val", "fit", images(12, num_classes=4), "label 3 at sample 3"),
        ("test", "predict", images(9, shape=(2, 6, 6)), r"\(2, 6, 6\); expected \(2, 4, 5\)"),
        ("val", "validate", images(9, shape=(1, 4, 5)), "--dataset.image_size"),
        ("test", "test", images(0), "no samples"),
        ("test", "test", None, r"load\(\) returned None"),
        ("test", "test", (images(9)[0], torch.zeros(9, 2)), r"\(9, 2\);\nexpected integers \(N,\)"),
    ],
)
def test_bad_data(split, stage, data, message):
    source = Memory(**{"train": images(30), split: data})
    with pytest.raises(UserError, match=message) as error:
        ImageData(source).setup(stage)
    assert str(error.value).startswith(f"Memory '{split}'")
    assert len(str(error.value).splitlines()) <= 4


def test_classes_that_are_stated_and_fractions_that_are_no_sample():
    source = Memory(train=images(30))
    source.classes = ["cat", "dog"]
    with pytest.raises(UserError, match="'train': label 2 at sample 2"):
        ImageData(source).setup("fit")
    with pytest.raises(UserError, match=r"--val_fraction 0\.01 of 6 samples is less than one"):
        ImageData(Memory(train=images(6)), val_fraction=0.01).setup("fit")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        *[("val_fraction", 1.0, "0 to 0.999"), ("val_fraction", -0.1, "0 to 0.999")],
        *[("batch_size", 0, "at least 1"), ("eval_batch_size", -1, "at least 1")],
        *[("steps_per_execution", 0, "at least 1"), ("crop_padding", -1, "at least 0")],
        *[("mixup", -1.0, "at least 0"), ("cutmix", float("nan"), "at least 0")],
        *[("num_workers", -1, "at least 0"), ("erasing", 1.5, "0 to 1")],
    ],
)
def test_bad_numbers(key, value, expected):
    with pytest.raises(UserError, match=f"--{key} is {value}; expected {expected}"):
        ImageData(**{key: value})


@pytest.mark.parametrize("option", [{"flip": True}, {"crop_padding": 1}, {"mixup": 0.2}])
def test_augmentation_needs_images(option):
    source = Memory(train=(torch.randn(20, 2), torch.arange(20) % 2))
    with pytest.raises(UserError, match=r"has no images, .*\(2,\);\nflip, crop_padding,"):
        ImageData(source, **option).setup("fit")
