"""Weights with their own number of classes, out of a pretended download."""

from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from lit_opt.engine.tasks.pretrained import replace_heads
from lit_opt.sources import Source

TINY = ["--dataset=test_pretrained.Colours", "--allow=test_pretrained", "--fast_dev_run=1"]


class Colours(Source):
    """Twelve images of three classes."""

    in_shape, num_classes = (3, 32, 32), 3

    def load(self, data_dir, split):
        if split == "val":
            return None
        x = torch.randint(256, (12, 3, 32, 32), generator=torch.Generator().manual_seed(0))
        return x.byte(), torch.arange(12) % 3


def test_a_net_keeps_its_weights_and_gets_a_head_of_the_datas_classes(run, monkeypatch):
    torch.manual_seed(1)
    saved = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *args, **kwargs: saved)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: saved)
    words = ["--net=torchvision.models.resnet18", "--net.weights=DEFAULT", "--lr=0"]
    net = run(*TINY, *words, "--optimizer=SGD").model.net
    assert net.fc.weight.shape == (3, 512)
    for name, weight in net.named_parameters():
        if not name.startswith("fc."):
            assert torch.equal(weight, saved[name]), name


def test_without_a_network_the_error_is_plain(fails, monkeypatch):
    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    told = fails(*TINY, "--net=torchvision.models.resnet18", "--net.weights=DEFAULT")
    assert "no network" in told
    assert "--net.weights" in told


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", "mobilenet_v3_small", "densenet121", "vgg11", "alexnet", "googlenet"]
)
def test_every_head_of_torchvisions_nets_is_found(name):
    with torch.device("meta"):
        net = getattr(torchvision.models, name)(num_classes=1000, **INIT.get(name, {}))
        replace_heads(net, 7)
        expected = getattr(torchvision.models, name)(num_classes=7, **INIT.get(name, {}))
    shapes = {key: w.shape for key, w in net.state_dict().items()}
    assert shapes == {key: w.shape for key, w in expected.state_dict().items()}


INIT = {"googlenet": {"init_weights": False, "aux_logits": True}}


def test_a_net_that_ends_in_no_layer_says_so():
    with pytest.raises(Exception, match="no last layer"):
        replace_heads(nn.ReLU(), 3)


class Small(nn.Module):
    def __init__(self, in_chans: int = 5, num_classes: int = 1000, width: int = 4) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(in_chans, width, 3), nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))


def create_model(model_name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """As timm's, which takes what the net takes by keyword."""
    assert model_name == "small"
    return Small(**kwargs)


def test_a_factory_with_kwargs_takes_them_as_they_are_and_the_datas_sizes(run):
    factory = [f"--net={__name__}.create_model", "--net.model_name=small"]
    net = run(*TINY, *factory, "--net.width=6").model.net
    assert (net.conv.weight.shape, net.fc.weight.shape) == ((6, 3, 3, 3), (3, 6))


def test_torchvisions_factories_that_hide_num_classes_get_it(run):
    net = run(*TINY, "--net=torchvision.models.mobilenet_v3_small").model.net
    assert net.classifier[3].out_features == 3
