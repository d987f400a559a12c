"""Grad-CAM beside captum's, on whole networks from torchvision with random weights.

captum is the one peer that is right with in-place successors. It has no tolerance of its own: both
sides do the same sums in single precision, so 1e-5 of the largest value is rounding.
"""

import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn
from torchvision import models

from latentkit.explain.cam import cam
from latentkit.explain.hooks import watched
from latentkit.explain.scores import direction, logit

# Early, middle, late; `followed` names those that an in-place operation overwrites.
LAYERS = {
    "resnet18": ("conv1", "bn1", "layer1.0.bn2", "layer2.0.conv2", "layer4"),
    "densenet121": ("features.norm0", "features.denseblock1.denselayer1.norm2", "features.norm5"),
    "mobilenet_v3_small": ("features.0.1", "features.2.block.1.0", "features.12.1", "features"),
    "vgg11": ("features.0", "features.6", "features.18", "features.19"),
    "squeezenet1_1": ("features.0", "features.4.squeeze", "features.12.expand3x3", "classifier.1"),
    "shufflenet_v2_x0_5": ("conv1.1", "stage2.1.branch2.1", "stage4", "conv5.1"),
}
FOLLOWED = {
    "resnet18": "layer1.0.bn2",
    "densenet121": "features.norm5",
    "mobilenet_v3_small": "features.0.1",
    "vgg11": "features.0",
    "squeezenet1_1": "features.4.squeeze",
    "shufflenet_v2_x0_5": "conv1.1",
}


@pytest.fixture(scope="module")
def nets():
    """Each network once, in eval mode, with statistics that are not the identity."""

    def build(name):
        torch.manual_seed(0)
        net = getattr(models, name)(weights=None, num_classes=10)
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.running_mean, 0, 0.1)
                nn.init.uniform_(part.running_var, 0.5, 1.5)
                nn.init.normal_(part.bias, 0, 0.1)
        return net.eval()

    return {name: build(name) for name in LAYERS}


@pytest.fixture(scope="module")
def pictures():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def close(got, expected):
    tolerance = 1e-5 * float(expected.abs().max())
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("name", "layer"), [(n, k) for n, ks in LAYERS.items() for k in ks])
def test_captum_agrees(nets, pictures, name, layer):
    net = nets[name]
    theirs = LayerGradCam(net, net.get_submodule(layer)).attribute(pictures, target=3)
    ours = cam(net, layer, pictures, logit(3), method="grad-cam")
    assert ours.raw.shape == theirs[:, 0].shape
    assert not ours.degenerate.any()
    close(ours.raw, theirs[:, 0].detach())


def test_captum_agrees_on_a_direction_in_the_outputs(nets, pictures):
    net, d = nets["resnet18"], torch.randn(10)
    theirs = LayerGradCam(lambda x: net(x) @ (d / d.norm()), net.layer3).attribute(pictures)
    close(cam(net, "layer3", pictures, direction(d)).raw, theirs[:, 0].detach())


@pytest.mark.parametrize("name", FOLLOWED)
def test_those_layers_are_overwritten(nets, pictures, name):
    """The control: without the copy these layers would show what came after them."""
    net, seen = nets[name], []
    layer = net.get_submodule(FOLLOWED[name])
    handle = layer.register_forward_hook(lambda *inside: seen.append((inside[2], inside[2] + 0)))
    with torch.no_grad():
        net(pictures)
    handle.remove()
    assert not torch.equal(*seen[0])


@pytest.mark.parametrize("name", LAYERS)
def test_predictions_keep_their_bits(nets, pictures, name):
    net = nets[name]
    with torch.no_grad():
        expected = net(pictures)
    with watched(net, LAYERS[name], pictures) as run:
        assert torch.equal(run.output, expected)
