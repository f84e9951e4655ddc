"""Weights with their own number of classes, out of a pretended download."""

from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from lit_opt.engine.tasks.pretrained import replace_heads

TINY = ["--dataset=test_pretrained.Colours", "--allow=test_pretrained", "--fast_dev_run=1"]


from lit_opt.sources import Source  # noqa: E402


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
