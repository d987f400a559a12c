import pytest
import torch
from torch import nn

from latentkit.explain.activation_cams import class_activation_map, eigen_cam
from latentkit.explain.cam import cam
from latentkit.explain.scores import logit

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
SIZES = [(9,), (4, 7), (2, 5, 3)]


def pooled(rank, channels=5):
    torch.manual_seed(0)
    body = nn.Sequential(CONVS[rank - 1](2, channels, 3, padding=1), nn.ReLU(inplace=True))

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = body, nn.Linear(channels, 3)

        def forward(self, x):
            return self.head(self.body(x).flatten(2).mean(2))

    return Pooled()


@pytest.mark.parametrize("size", SIZES)
def test_class_activation_map_adds_up_to_the_logit(size):
    net, x = pooled(len(size)), torch.randn(3, 2, *size)
    for c in range(3):
        got = class_activation_map(net, "body", x, net.head.weight, c)
        assert (got.method, got.layer, got.score) == ("cam", "body", f"class {c}")
        with torch.no_grad():
            expected = net(x)[:, c] - net.head.bias[c]
        torch.testing.assert_close(got.raw.flatten(1).mean(1), expected)
        places = got.raw[0].numel()
        gradient = cam(net, "body", x, logit(c)).raw * places  # Grad-CAM is the same thing here
        torch.testing.assert_close(got.raw, gradient)
    assert not got.raw.requires_grad


def test_class_activation_map_with_a_class_for_each_sample():
    net, x = pooled(2), torch.randn(3, 2, 4, 4)
    classes, weight = torch.tensor([2, 0, 2]), net.head.weight[:, :, None, None]
    got = class_activation_map(net, "body", x, weight, classes).raw
    for n, c in enumerate(classes):
        alone = class_activation_map(net, "body", x[n : n + 1], net.head.weight, c).raw
        torch.testing.assert_close(got[n : n + 1], alone)


def slow_eigen(a):
    """Power iteration on the Gram matrix of the places, in double precision."""
    gram = a.double().T @ a.double()
    v = torch.ones(len(gram), dtype=torch.double)
    for _ in range(3000):
        v = gram @ v / (gram @ v).norm()
    length = (v @ gram @ v).sqrt()
    return length * v * v.sum().sign()


@pytest.mark.parametrize("channels", [2, 40])
@pytest.mark.parametrize("size", SIZES)
def test_eigen_cam_is_the_first_singular_component(size, channels):
    net, x = pooled(len(size), channels), torch.randn(3, 2, *size)
    got = eigen_cam(net, "body", x)
    assert (got.method, got.score) == ("eigen-cam", None)
    with torch.no_grad():
        a = net.body(x).flatten(2)
    expected = torch.stack([slow_eigen(sample) for sample in a]).reshape(got.raw.shape)
    torch.testing.assert_close(got.raw, expected.float(), atol=1e-4, rtol=1e-4)
    assert (got.raw >= -1e-5).all()  # of activations that are not negative
    singles = torch.cat([eigen_cam(net, "body", one[None]).raw for one in x])
    torch.testing.assert_close(got.raw, singles, atol=1e-5, rtol=1e-5)


def test_eigen_cam_of_one_pattern_is_the_pattern():
    pattern, strengths = torch.rand(1, 1, 4, 5), torch.tensor([3.0, 0.0, 4.0]).view(1, 3, 1, 1)
    got = eigen_cam(nn.Sequential(nn.Identity()), "0", strengths * pattern)
    torch.testing.assert_close(got.raw, 5 * pattern[0])
    flipped = eigen_cam(nn.Sequential(nn.Identity()), "0", -strengths * pattern)
    torch.testing.assert_close(flipped.raw, 5 * pattern[0])  # the sign is a convention


@pytest.mark.parametrize("method", ["cam", "eigen-cam"])
def test_bad_and_silent_samples_spoil_only_themselves(method):
    net, x = pooled(2), torch.randn(4, 2, 4, 4)

    def run(x):
        if method == "cam":
            return class_activation_map(net, "body", x, net.head.weight, 1)
        return eigen_cam(net, "body", x)

    clean = run(x).raw
    x[1, 0, 0, 0], x[2, 1, 2, 2] = torch.nan, torch.inf
    got = run(x)
    assert got.degenerate.tolist() == [False, True, True, False]
    torch.testing.assert_close(got.raw[[0, 3]], clean[[0, 3]])
    net.body[0].bias.data.fill_(-1e9)
    blank = run(x[[0, 3]])
    assert blank.degenerate.all()
    assert torch.equal(blank.raw, torch.zeros_like(blank.raw))


def test_errors():
    net, x = pooled(2), torch.randn(3, 2, 4, 4)
    with pytest.raises(ValueError, match=r"channel of layer 'body', \(K, 5\), got \(3, 4\)"):
        class_activation_map(net, "body", x, net.head.weight[:, :4], 0)
    for target in (3, -1, torch.tensor([0, 1, 3])):
        with pytest.raises(ValueError, match=r"targets from 0 to 2, got \["):
            class_activation_map(net, "body", x, net.head.weight, target)
    for run in (eigen_cam, lambda *args: class_activation_map(*args, net.head.weight, 0)):
        with pytest.raises(ValueError, match=r"layer 'head' to return \(N, C, \*S\)"):
            run(net, "head", x)
