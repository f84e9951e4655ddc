import pytest
import torch
from torch import nn

from lit_opt.models import MLP, ConvNet, ResNet9


def test_mlp_is_the_tutorials_784_512_512_10():
    linear = [m for m in MLP().modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(784, 512), (512, 512), (512, 10)]


@pytest.mark.parametrize(
    ("net", "low", "high"), [(ConvNet, 2.4e5, 2.42e5), (ResNet9, 6.5e6, 6.7e6)]
)
def test_nets_have_the_stated_size(net, low, high):
    assert low < sum(p.numel() for p in net().parameters()) < high


@pytest.mark.parametrize(("strided", "sides"), [(False, [28, 14, 7, 7]), (True, [14, 14, 7, 3])])
def test_convnet_halves_the_image_early_or_late(strided, sides):
    seen, net = [], ConvNet(width=8, strided=strided)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, x, y: seen.append(y.shape[-1]))
    net(torch.zeros(2, 1, 28, 28))
    assert seen == sides


@pytest.mark.parametrize("side", [8, 28, 32, 45])
@pytest.mark.parametrize("channels", [1, 3])
def test_nets_take_every_shipped_image_size(side, channels):
    for net in (
        MLP((channels, side, side), 7),
        ConvNet(channels, 7),
        ConvNet(channels, 7, width=8, strided=True),
        ResNet9(channels, 7, width=8),
    ):
        assert net(torch.zeros(2, channels, side, side)).shape == (2, 7)


@pytest.mark.parametrize("net", [MLP(), ConvNet(), ResNet9(1, width=8)])
def test_logits_are_not_clipped_by_a_last_relu(net):
    torch.manual_seed(0)
    logits = net(torch.randn(64, 1, 28, 28))
    assert logits.min() < 0 < logits.max()


def test_dropout_is_off_in_evaluation():
    net, x = MLP(dropout=0.5).eval(), torch.randn(4, 1, 28, 28)
    assert torch.equal(net(x), net(x))
    assert not torch.equal(net.train()(x), net(x))
