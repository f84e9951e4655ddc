"""Transforms of a batch, against torchvision's own calls."""

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from lit_opt.engine.loading.transforms import transform_samples


def test_each_sample_draws_its_own_numbers_and_the_mask_goes_with_its_image():
    y = torch.arange(64).view(1, 8, 8).repeat(16, 1, 1)
    flip = [v2.RandomHorizontalFlip()]
    torch.manual_seed(3)
    x_new, y_new = transform_samples(zip(y[:, None].to(torch.uint8), y, strict=True), flip)
    torch.manual_seed(3)
    expected = torch.stack([flip[0](tv_tensors.Mask(mask)) for mask in y])
    assert torch.equal(y_new, expected)
    assert torch.equal(x_new[:, 0].long(), y_new)
    assert len(y_new.unique(dim=0)) == 2  # some flipped, some not
