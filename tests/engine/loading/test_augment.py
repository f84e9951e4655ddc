"""Against loops over single images that draw the same random numbers."""

import pytest
import torch

from lit_opt.engine.loading.augment import mix, random_crop, random_erase, random_flip
from lit_opt.engine.loading.normalize import Normalize


@pytest.fixture(params=[torch.uint8, torch.float32])
def x(request):
    return torch.randint(1, 256, (32, 3, 6, 7)).to(request.param)


def test_flip(x):
    torch.manual_seed(0)
    flipped = random_flip(x)
    torch.manual_seed(0)
    coins = torch.rand(32) < 0.5
    for image, result, coin in zip(x, flipped, coins, strict=True):
        assert torch.equal(result, image.flip(-1) if coin else image)
    assert 0 < coins.sum() < 32


def test_crop(x):
    torch.manual_seed(0)
    cropped = random_crop(x, 2)
    torch.manual_seed(0)
    tops, lefts = torch.randint(5, (2, 32))
    for image, result, top, left in zip(x, cropped, tops, lefts, strict=True):
        padded = torch.zeros(3, 10, 11, dtype=x.dtype)
        padded[:, 2:8, 2:9] = image
        assert torch.equal(result, padded[:, top : top + 6, left : left + 7])
    assert len(set(tops.tolist())) == len(set(lefts.tolist())) == 5


def erased_boxes(x, erased):
    """Per image (height, width) of what was set to 0, which must be a filled rectangle."""
    boxes = []
    for image, result in zip(x, erased, strict=True):
        gone = (result == 0).all(0)
        rows, cols = gone.any(1), gone.any(0)
        assert torch.equal(gone, rows[:, None] & cols)
        for line in (rows, cols):
            assert (line.int().diff().abs().sum() + line[0] + line[-1]) in (0, 2)  # one piece
        assert torch.equal(result[:, ~gone], image[:, ~gone])
        boxes.append((int(rows.sum()), int(cols.sum())))
    return boxes


def test_erase():
    torch.manual_seed(0)
    x = torch.rand(400, 2, 32, 32) + 1
    boxes = erased_boxes(x, random_erase(x, 0.5))
    areas = torch.tensor([h * w / 32**2 for h, w in boxes if h])
    assert 150 < len(areas) < 250
    assert 0.01 < areas.min() < 0.06
    assert 0.25 < areas.max() < 0.36
    assert any(h > 2 * w for h, w in boxes if h)
    assert any(w > 2 * h for h, w in boxes if h)
    assert torch.equal(random_erase(x, 0.0), x)
    assert all(h > 0 for h, _ in erased_boxes(x, random_erase(x, 1.0)))


def test_mixup_is_the_weighted_mean_with_the_neighbour():
    x, y = torch.rand(8, 1, 4, 4), torch.arange(8) % 5
    torch.manual_seed(0)
    mixed, soft = mix(x, y, 5, mixup_alpha=1.0, cutmix_alpha=0.0)
    share = soft[1, 1]  # of image 1; the rest is image 0
    assert 0 < share < 1
    for result, whole in ((mixed, x), (soft, torch.eye(5)[y])):
        torch.testing.assert_close(result, share * whole + (1 - share) * whole.roll(1, 0))


def test_cutmix_labels_are_the_shares_of_pixels():
    x = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 10, 10)
    torch.manual_seed(1)
    mixed, soft = mix(x, torch.arange(6), 6, mixup_alpha=0.0, cutmix_alpha=1.0)
    shares = (mixed == torch.arange(6).view(6, 1, 1)).float().mean((2, 3))  # (6, 6)
    torch.testing.assert_close(soft, shares)
    assert 0 < soft[0, 0] < 1
    mixed = [mix(x, torch.arange(6), 6, 1.0, 1.0)[0] for _ in range(40)]
    assert {bool((x % 1 == 0).all()) for x in mixed} == {True, False}  # by turns with mixup


def test_everything_stays_on_its_device():
    x = torch.empty(4, 1, 8, 8, dtype=torch.uint8, device="meta")
    normalizer = Normalize(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.arange(1), on=True)
    out = random_erase(normalizer(random_crop(random_flip(x), 2)), 0.5)
    assert (out.device.type, out.shape, out.dtype) == ("meta", x.shape, torch.float32)
