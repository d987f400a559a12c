"""The natural change against closed forms and against its covariance written out as a matrix."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from latentkit.explain.natural import jacobian, natural_change

SIZES = [(7,), (4, 5), (3, 2, 4)]


def draw(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def linear(outputs, shape, seed=1):
    """An encoder E x, and E (D, C, *S)."""
    weight = draw(outputs, *shape, seed=seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(weight[0].numel(), outputs).double())
    with torch.no_grad():
        net[1].weight.copy_(weight.flatten(1))
    return net, weight


def curved(shape, seed=0):
    torch.manual_seed(seed)
    conv, norm = {
        1: (nn.Conv1d, nn.BatchNorm1d),
        2: (nn.Conv2d, nn.BatchNorm2d),
        3: (nn.Conv3d, nn.BatchNorm3d),
    }[len(shape) - 1]
    net = nn.Sequential(
        conv(shape[0], 4, 3, padding=1),
        norm(4),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(4 * int(np.prod(shape[1:])), 3),
        nn.Tanh(),
    ).double()
    net[1].running_mean.fill_(0.1)
    return net.eval()


def covariance(image, smooth, colour):
    """The prior of one image (C, *S) as a matrix, entry by entry from its definition."""
    edges = [np.gradient(image, axis=axis) for axis in range(1, image.ndim)]
    places = list(np.ndindex(image.shape))
    matrix = np.zeros((len(places), len(places)))
    for i, p in enumerate(places):
        for j, q in enumerate(places):
            distance = sum((a - b) ** 2 for a, b in zip(p[1:], q[1:], strict=True))
            near = np.exp(-distance / (2 * smooth**2))
            matrix[i, j] = near * sum(edge[p] * edge[q] for edge in edges)
            matrix[i, j] += near * colour**2 * (p[0] == q[0])
    return torch.from_numpy(matrix)


@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_posterior_mean_of_its_prior(size):
    shape, smooth, colour, ridge = (2, *size), 1.3, 0.4, 1e-3
    net, x, d = curved(shape), draw(2, *shape), draw(2, 3, seed=3)
    got = natural_change(net, x, d, smooth, colour, ridge)
    assert got.shape == (2, 2, *shape)
    for n, image in enumerate(x):
        e = torch.autograd.functional.jacobian(lambda v: net(v[None].clone())[0], image).flatten(1)
        c = covariance(image.numpy(), smooth, colour)
        gram = e @ c @ e.T
        damped = gram + ridge * gram.trace() / 3 * torch.eye(3).double()
        for k, one in enumerate(d):
            expected = c @ e.T @ damped.inverse() @ (one / one.norm())
            torch.testing.assert_close(got[k, n].flatten(), expected)


@pytest.mark.parametrize("size", SIZES)
def test_the_encoder_takes_the_change_for_the_direction(size):
    net, x, d = curved((2, *size)), draw(2, 2, *size), draw(4, 3, seed=3)
    slopes = jacobian(net, x)
    for ridge, near in ((1e-3, 0.2), (1e-9, 1e-6)):
        got = natural_change(net, x, d, ridge=ridge)
        read = torch.einsum("dn...,kn...->knd", slopes.flatten(2), got.flatten(2))
        expected = (d / d.norm(dim=1, keepdim=True))[:, None].expand_as(read)
        torch.testing.assert_close(read, expected, atol=near, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_where_nothing_has_edges_only_colours_shift(size):
    """Far-reaching shifts are one per channel: v_c = e_c / sum e_c^2, with e_c = sum_p E_cp."""
    net, weight = linear(1, (3, *size))
    flat = torch.full((2, 3, *size), 0.4).double()
    got = natural_change(net, flat, torch.ones(1, 1).double(), smooth=1e6, ridge=1e-12)
    e = weight[0].flatten(1).sum(1)
    expected = (e / e.square().sum()).view(1, 1, 3, *[1] * len(size)).expand_as(got)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_where_colours_keep_only_parts_move(size):
    """Far-reaching moves are one per axis: v = sum_s g_s dx/ds / sum g_s^2, g_s = <E, dx/ds>."""
    net, weight = linear(1, (3, *size))
    x = draw(2, 3, *size)
    got = natural_change(net, x, torch.ones(1, 1).double(), smooth=1e6, colour=1e-9, ridge=1e-12)
    for maps, image in zip(got[0], x, strict=True):
        edges = [torch.from_numpy(np.gradient(image.numpy(), axis=a)) for a in range(1, image.ndim)]
        g = [(weight[0] * edge).sum() for edge in edges]
        expected = sum(a * edge for a, edge in zip(g, edges, strict=True)) / sum(a * a for a in g)
        torch.testing.assert_close(maps, expected, rtol=1e-5, atol=1e-8)
    still = torch.zeros(3, *size, dtype=torch.double)
    still[:, -1:] = x[0, :, -1:]
    maps = natural_change(net, still[None], torch.ones(1, 1).double(), colour=1e-9)[0, 0]
    flat = torch.stack([torch.gradient(still, dim=a)[0] for a in range(1, still.ndim)]).eq(0).all(0)
    assert maps[flat].abs().max() <= 1e-9 * maps.abs().max()  # what has no edge cannot move


def test_without_edges_and_neighbours_it_is_the_pseudo_inverse():
    net, weight = linear(4, (2, 3, 3))
    d, x = draw(5, 4, seed=3), torch.full((1, 2, 3, 3), 0.7).double()
    got = natural_change(net, x, d, smooth=1e-3, colour=0.3, ridge=1e-10)
    expected = torch.linalg.pinv(weight.flatten(1)) @ (d / d.norm(dim=1, keepdim=True)).T
    torch.testing.assert_close(got.flatten(1), expected.T, rtol=1e-6, atol=1e-9)


def test_it_moves_an_object_where_the_gradient_does_not_point():
    """An encoder of the centre of mass reads every pixel; what moves is the blob alone."""
    place = torch.arange(24).double()
    blob = torch.exp(-((place - 9) ** 2) / 8).view(1, 1, 24)
    net = nn.Sequential(nn.Flatten(), nn.Linear(24, 1, bias=False).double())
    with torch.no_grad():
        net[1].weight.copy_(place - 9)
    maps = natural_change(net, blob, torch.ones(1, 1).double(), colour=1e-3)[0, 0, 0]
    truth = torch.gradient(blob[0, 0])[0]
    cosine = nn.CosineSimilarity(dim=0)
    assert cosine(maps.abs(), truth.abs()) > 0.98
    assert cosine(net[1].weight[0].detach().abs(), truth.abs()) < 0.4


def test_only_the_line_of_a_direction_counts():
    net, x, d = curved((2, 4, 5)), draw(3, 2, 4, 5), draw(2, 3, seed=3)
    got = natural_change(net, x, d)
    torch.testing.assert_close(natural_change(net, x, -4 * d), -got)
    torch.testing.assert_close(natural_change(net, x[1:2], d), got[:, 1:2])


def test_an_encoder_that_reads_nothing_has_an_empty_map():
    for dtype in (torch.float, torch.double):
        net = nn.Sequential(nn.Flatten(), nn.Linear(20, 3)).to(dtype)
        nn.init.zeros_(net[1].weight)
        x, d = draw(2, 1, 4, 5).to(dtype), draw(2, 3).to(dtype)
        assert natural_change(net, x, d).eq(0).all()


@pytest.mark.parametrize("size", SIZES)
def test_the_jacobian_is_autograds(size):
    net, x = curved((2, *size)), draw(3, 2, *size)
    got = jacobian(net, x)
    for n, image in enumerate(x):
        expected = torch.autograd.functional.jacobian(lambda v: net(v[None].clone())[0], image)
        torch.testing.assert_close(got[:, n], expected)


def test_the_jacobian_of_a_first_layer_that_writes_over_its_input():
    net, x = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten()).double(), draw(2, 1, 3)
    kept = x.clone()
    expected = torch.stack([torch.diag((image[0] > 0).double()) for image in x], 1)
    torch.testing.assert_close(jacobian(net, x)[:, :, 0], expected)
    assert torch.equal(x, kept)


def test_a_network_in_training_comes_back_as_it_was():
    net, x, d = curved((2, 4, 5)), draw(3, 2, 4, 5), draw(2, 3, seed=3)
    expected = natural_change(net, x, d)
    net.train()
    net[1].eval()
    net.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    with torch.inference_mode():
        inside = natural_change(net, x * 1, d)
    for got in (inside, natural_change(net, x.clone().requires_grad_(), d)):
        torch.testing.assert_close(got, expected)
        assert not got.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in net] == [True, False, *[True] * 5]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"directions": torch.ones(2, 4)}, r"3 coordinates.*got \(2, 4\)"),
        ({"directions": torch.zeros(2, 3)}, r"positive length, got \|d\| = 0"),
        ({"smooth": 0}, "above 0, got 0, 0.1 and 0.001"),
        ({"colour": -1}, "above 0, got 5.0, -1 and 0.001"),
        ({"ridge": 0}, "above 0, got 5.0, 0.1 and 0"),
        ({"x": draw(1, 2, 4, 1)}, r"two places or more along each axis.*got \(1, 2, 4, 1\)"),
        ({"x": draw(2, 40)}, r"two places or more along each axis.*got \(2, 40\)"),
    ],
)
def test_bad_input(changes, message):
    words = {"module": curved((2, 4, 5)), "x": draw(1, 2, 4, 5), "directions": torch.ones(2, 3)}
    with pytest.raises(ValueError, match=message):
        natural_change(**words | changes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_is_near_and_gives_single_precision(dtype, autocast):
    """A linear encoder: its slopes are its weights, so that all the rest must be exact."""
    net, _ = linear(3, (2, 4, 5))
    net, x, d = net.to(dtype), draw(3, 2, 4, 5).to(dtype), draw(2, 3, seed=3).to(dtype)
    if dtype is torch.float:  # weights that lose nothing as halves
        net.bfloat16().float()
    expected = natural_change(copy.deepcopy(net).double(), x.double(), d.double()).float()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        got = natural_change(net, x, d)
    assert got.dtype == torch.float32
    near = 1e-2 if autocast and dtype is torch.float16 else 1e-3
    torch.testing.assert_close(got, expected, atol=near * float(expected.abs().max()), rtol=0)
