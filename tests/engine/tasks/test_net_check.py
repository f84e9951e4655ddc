"""An error in a net, loss or metric of one's own names its place."""

import pytest

OWN = """\
import torch, torchmetrics
class Net(torch.nn.Module):
    def __init__(self, way: str, in_shape: tuple[int, int, int], num_classes: int):
        super().__init__()
        self.way, self.last = way, torch.nn.Linear(64, num_classes)
        if way == "built":
            self.tokk
    def forward(self, x):
        if self.way == "named":
            return self.tokk(x)
        if self.way == "axes":
            return x
        return self.last(x if self.way == "multiplied" else x.flatten(1))
def loss(outputs, y):
    return outputs.tokk
class Metric(torchmetrics.MeanMetric):
    def update(self, preds, target):
        batch, width, height = preds.shape
"""
PLACES = {
    "--net=own.Net --net.way=named": ("no attribute 'tokk'", "line 10, forward"),
    "--net=own.Net --net.way=multiplied": ("set --net.in_shape\n", "line 13, forward"),
    "--net=own.Net --net.way=built": ("no attribute 'tokk'", "line 7, __init__"),
    "--loss=own.loss": ("no attribute 'tokk'", "line 15, loss"),
    "--metrics=own.Metric": ("not enough values to unpack", "line 18, update"),
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """`own("--net=own.Net")`: the words with the name of a module that has `OWN` as its text."""
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda words: words.replace("own.", f"{name}.").split()


@pytest.mark.parametrize("words", PLACES)
def test_an_error_in_code_of_ones_own_names_its_place(fails, own, tmp_path, words):
    told, place = PLACES[words]
    error = fails(*own(words))
    assert told in error
    assert error.splitlines()[-1] == f"in {next(tmp_path.glob('own_*.py'))}, {place}"
    assert "choose another" not in error


def test_a_net_of_ones_own_is_not_to_be_exchanged(fails, own):
    words = own("--net=own.Net --net.way=axes")
    assert fails(*words).endswith("gives (2, 1, 8, 8)\nchange what its forward returns")


def test_a_net_of_the_library_is_to_be_exchanged(fails):
    assert fails("--net=torchvision.models.resnet18").endswith("choose another --net")
    assert "set --net.in_shape, or choose another --net" in fails("--net.in_shape=[2, 8, 8]")
