import pytest
import torch

from lit_opt.engine.loading.normalize import Normalize, mean_std


@pytest.mark.parametrize("table", [False, True])
def test_equals_torch(table):
    x = torch.randn(9000, 3) * 5 + 2 if table else torch.randint(0, 256, (9000, 3, 2, 2))
    x = x if table else x.to(torch.uint8)
    rows = torch.randperm(9000)[:8500]
    chosen = x[rows].double() if table else x[rows].double().transpose(1, 3).reshape(-1, 3) / 255
    mean, std = mean_std(x, rows)
    torch.testing.assert_close(mean, chosen.mean(0))
    torch.testing.assert_close(std, chosen.std(0, correction=0))


def test_off_keeps_pixels_in_0_1_and_tables_raw_on_makes_a_constant_zero():
    x = torch.full((5, 1, 2, 2), 7, dtype=torch.uint8)
    torch.testing.assert_close(Normalize(x, torch.arange(5), on=True)(x), torch.zeros(5, 1, 2, 2))
    x = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    out = Normalize(x, torch.arange(1), on=False)(x)
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 0.2, 1.0]))
    table = torch.randn(4, 2)
    before = table.clone()
    Normalize(table, torch.arange(4), on=True)(table)
    assert torch.equal(table, before)  # no batch is changed in place
    assert torch.equal(Normalize(table, torch.arange(4), on=False)(table), table)
