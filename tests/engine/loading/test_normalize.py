import pytest
import torch

from lit_opt.engine.loading.normalize import Normalize, mean_std


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 2, 2), (3, 2, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_equals_torch(shape, dtype, monkeypatch):
    """Tables, signals, images and videos, read in many parts; channels are axis 1."""
    monkeypatch.setattr("lit_opt.engine.loading.normalize._CHUNK", 1000)
    image = dtype == torch.uint8
    x = (torch.randint(0, 256, (900, *shape)) if image else torch.randn(900, *shape) + 7).to(dtype)
    rows = torch.randperm(900)[:850]
    chosen = x[rows].double().transpose(0, 1).reshape(3, -1).T / (255 if image else 1)
    mean, std = mean_std(x, rows)
    torch.testing.assert_close(mean, chosen.mean(0))
    torch.testing.assert_close(std, chosen.std(0, correction=0))


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (torch.tensor([[3, 250]], dtype=torch.uint8), torch.tensor([[3, 250]])),
        (torch.tensor([[3, -4]], dtype=torch.int16), torch.tensor([[3, -4]])),
        (torch.tensor([[True, False]]), torch.tensor([[1.0, 0.0]])),
    ],
)
def test_tokens_stay_integers_and_nothing_but_numbers_is_normalised(x, expected):
    out = Normalize(x, torch.arange(1), on=True)(x)
    assert (out.dtype, out.tolist()) == (expected.dtype, expected.tolist())


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
