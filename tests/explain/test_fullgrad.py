import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from latentkit.explain.fullgrad import full_gradients, fullgrad
from latentkit.explain.scores import unit

SIZES = [(8,), (6, 8), (4, 6, 4)]


def network(rank, last=None):
    """Convolution, batch norm, pooling, transposed convolution, linear layers, one layer twice."""
    torch.manual_seed(0)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    back = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[rank - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[rank - 1]
    pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1]
    twice = conv(4, 4, 3, padding=1)
    net = nn.Sequential(
        nn.LeakyReLU(0.3, inplace=True),
        conv(2, 4, 3, padding=1),
        norm(4),
        nn.ReLU(inplace=True),
        pool(2),
        twice,
        nn.LeakyReLU(0.2, inplace=True),
        twice,
        norm(4, affine=False),
        back(4, 3, 2, stride=2),
        parametrizations.spectral_norm(conv(3, 3, 1)),
        conv(3, 2, 1, bias=False),
        nn.Flatten(),
        nn.LazyLinear(6),
        nn.BatchNorm1d(6),
        last or nn.ReLU(inplace=True),
        nn.Linear(6, 3),
    ).double()
    net(torch.randn(2, 2, *SIZES[rank - 1], dtype=torch.double))
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.5)
            part.running_var.uniform_(0.5, 2)
    return net.eval()


def inputs(size, n=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 2, *size, dtype=torch.double, generator=generator)


@pytest.mark.parametrize("size", SIZES)
def test_the_parts_add_up_to_the_score(size):
    net, x = network(len(size)), inputs(size)
    parts = full_gradients(net, x, unit(1))
    with torch.no_grad():
        expected = net(x.clone())[:, 1]
    torch.testing.assert_close(parts.value, expected)
    total = parts.input.flatten(1).sum(1)
    for part in parts.biases.values():
        total = total + part.flatten(1).sum(1)
    torch.testing.assert_close(total, expected, atol=1e-12, rtol=1e-12)
    assert parts.error.max() < 1e-10
    assert set(parts.biases) == {"1", "2", "5", "5#1", "8", "9", "10", "13", "14", "16"}
    without = total - parts.biases["8"].flatten(1).sum(1)  # peers leave implicit biases out
    assert (without - expected).abs().max() > 1e-3


def test_each_part_by_plain_autograd():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1)).double()
    x = torch.randn(1, 1, 4, 4, dtype=torch.double, requires_grad=True)
    parts = full_gradients(net, x, unit(0))
    net(x).sum().backward()
    torch.testing.assert_close(parts.input, (x * x.grad).detach())
    summed = parts.biases["0"].sum((0, 2, 3))  # the gradient of the bias is the sum over space
    torch.testing.assert_close(summed, net[0].bias.detach() * net[0].bias.grad)
    torch.testing.assert_close(parts.biases["3"][0], net[3].bias.detach())


class Converts(nn.Module):
    """Works in another range than its input, as models here do."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.how, self.first = how, nn.Conv2d(2, 3, 3, padding=1)
        size = 20 if how == "sizes" else 80
        self.side, self.last = nn.Conv2d(2, 1, 1), nn.Linear(160 if how == "flat" else 3 * size, 2)

    def forward(self, x):
        if self.how == "range":
            x = 2 * x - 1
        elif self.how == "channels":
            x = (x - torch.tensor([0.3, 0.5]).view(1, 2, 1, 1)) / 0.2
        elif self.how == "sizes":
            x = nn.functional.avg_pool2d(x, 2) - 0.5
        elif self.how == "flat":
            return self.last((2 * x - 1).flatten(1))
        elif self.how == "branches":
            y = 2 * x - 1
            return self.last((self.first(y).relu() + self.side(y) + x[:, :1]).flatten(1))
        return self.last(self.first(x).relu().flatten(1))


@pytest.mark.parametrize("how", ["range", "channels", "sizes", "flat", "branches"])
def test_conversions_of_the_input_count(how):
    net, x = Converts(how).double(), torch.rand(3, 2, 8, 10, dtype=torch.double)
    parts = full_gradients(net, x, unit(1))
    assert parts.error.max() < 1e-12
    if how in ("range", "channels"):  # as if the converted input had been given
        with torch.no_grad():
            converted = (
                2 * x - 1 if how == "range" else (x - torch.tensor([[[0.3]], [[0.5]]])) / 0.2
            )
        net.how = None
        plain = full_gradients(net, converted, unit(1))
        torch.testing.assert_close(parts.input, plain.input)
        assert set(parts.biases) == set(plain.biases) == {"first", "last"}
        net.how = how
    elif how == "sizes":
        assert parts.biases["(the input)"].shape == (3, 2, 4, 5)
    got = fullgrad(net, x, unit(1))
    expected = parts.value - parts.biases["last"].sum(1)
    torch.testing.assert_close(got.raw.sum((1, 2)).double(), expected, atol=1e-5, rtol=1e-5)


def test_what_does_not_add_up_is_measured():
    net = network(2, last=nn.Sigmoid())
    assert full_gradients(net, inputs((6, 8)), unit(1)).error.max() > 0.01


@pytest.mark.parametrize("size", SIZES)
def test_the_signed_map_adds_up_to_what_has_space(size):
    net, x = network(len(size)), inputs(size)
    got = fullgrad(net, x, unit(1))
    assert got.raw.shape == (3, *size)
    assert (got.layer, got.method) == ("(the input)", "fullgrad")
    parts = full_gradients(net, x, unit(1))
    flat = sum(parts.biases[name].flatten(1).sum(1) for name in ("13", "14", "16"))
    torch.testing.assert_close(
        got.raw.flatten(1).sum(1).double(), parts.value - flat, rtol=1e-4, atol=1e-4
    )
    minus = fullgrad(net, x, lambda out: -out[:, 1])
    torch.testing.assert_close(minus.raw, -got.raw)
    assert not got.degenerate.any()


def test_a_linear_network_has_the_map_w_x():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).double()
    x = torch.randn(3, 1, 3, 4, dtype=torch.double)
    expected = (net[1].weight[1].view(3, 4) * x[:, 0]).detach()
    torch.testing.assert_close(fullgrad(net, x, unit(1)).raw, expected.float())
    low, high = (f(expected.abs(), (1, 2)).view(-1, 1, 1) for f in (torch.amin, torch.amax))
    drawn = fullgrad(net, x, unit(1), signed=False).raw
    torch.testing.assert_close(drawn, ((expected.abs() - low) / (high - low)).float())


def test_the_authors_map():
    net, x = network(2), inputs((6, 8))
    parts = full_gradients(net, x, unit(1))

    def drawn(part):
        size = part.abs().flatten(1)
        size = size - size.amin(1, keepdim=True)
        size = (size / size.amax(1, keepdim=True)).view_as(part)
        return nn.functional.interpolate(size, (6, 8), mode="bilinear").sum(1)

    spatial = [parts.input, *(parts.biases[n] for n in ("1", "2", "5", "5#1", "8", "9", "10"))]
    expected = sum(drawn(part) for part in spatial)
    got = fullgrad(net, x, unit(1), signed=False)
    torch.testing.assert_close(got.raw, expected.float())
    assert (got.raw >= 0).all()


def test_rounding_errors_of_a_layer_are_not_rescaled():
    """Before instance norm a bias contributes zero, but for rounding."""
    torch.manual_seed(0)
    first, norm = nn.Conv2d(1, 2, 3, padding=1), nn.InstanceNorm2d(2)
    net = nn.Sequential(first, norm, nn.ReLU(), nn.Flatten(), nn.Linear(2 * 30, 1))
    x = torch.randn(2, 1, 5, 6)
    first.bias.data.fill_(1e-12)
    part = full_gradients(net, x, unit(0)).biases["0"]
    assert part.any()
    got = fullgrad(net, x, unit(0), signed=False).raw
    first.bias.data.zero_()
    torch.testing.assert_close(got, fullgrad(net, x, unit(0), signed=False).raw)


@pytest.mark.parametrize("signed", [True, False])
def test_batches_and_bad_samples(signed):
    net, x = network(2), inputs((6, 8), n=4)
    whole = fullgrad(net, x, unit(0), signed=signed)
    singles = torch.cat([fullgrad(net, one[None], unit(0), signed=signed).raw for one in x])
    torch.testing.assert_close(whole.raw, singles)
    x[1, 0, 2, 2] = torch.nan
    x[2] = 0
    got = fullgrad(net, x, unit(0), signed=signed)
    assert got.degenerate.tolist() == [False, True, False, False]
    assert not got.raw[1].isfinite().all()
    torch.testing.assert_close(got.raw[[0, 3]], whole.raw[[0, 3]])


def test_nothing_is_left_behind():
    net, x = network(2).train(), inputs((6, 8))
    net[2].eval()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    before = x.clone()
    for p in net.parameters():
        p.grad = torch.full_like(p, 7.0)
    for _ in range(2):
        with torch.inference_mode():
            got = fullgrad(net, x, unit(0))
    assert torch.equal(x, before)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all((p.grad == 7).all() for p in net.parameters())
    assert (net.training, net[2].training) == (True, False)
    assert not any(part._forward_hooks for part in net.modules())
    assert not got.raw.requires_grad
    for p in net.parameters():
        p.requires_grad_(False)
    torch.testing.assert_close(fullgrad(net, x, unit(0)).raw, got.raw)


def test_errors():
    net, x = network(2), inputs((6, 8))
    with pytest.raises(ValueError, match=r"input \(N, C, \*S\) with space, got \(3, 4\)"):
        fullgrad(nn.Linear(4, 2), torch.ones(3, 4), unit(0))
    for score in (lambda out: out[:, 0].detach(), lambda out: torch.zeros(3, requires_grad=True)):
        with pytest.raises(ValueError, match=r"score that depends on layer '\(the input\)'"):
            fullgrad(net, x, score)
    with pytest.raises(ValueError, match=r"one value per sample, shape \(3,\), got \(3, 3\)"):
        fullgrad(net, x, lambda out: out)
