import math

import pytest
import torch
from torch import nn

from latentkit.latent.metric import log_volume, metric_norm, metric_product

MATRIX = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def linear(z):
    return (z @ MATRIX.T).reshape(len(z), 1, 3, 4)


def bent(z):
    return (z @ MATRIX.T).tanh().reshape(len(z), 1, 3, 4)


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_linear_decoder_has_its_gram_matrix():
    z, v = normal(2, 5, 4)
    assert torch.allclose(metric_product(linear, z, v), v @ MATRIX.T @ MATRIX)
    assert torch.allclose(metric_norm(linear, z, v), (v @ MATRIX.T).norm(dim=1))


def test_it_is_the_product_with_the_full_jacobian():
    z, v = normal(2, 3, 4)
    for one, tangent, found in zip(z, v, metric_product(bent, z, v), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: bent(x[None]).flatten(), one)
        assert torch.allclose(found, jacobian.T @ jacobian @ tangent)


def test_it_is_symmetric_and_never_negative():
    z, u, v = normal(3, 50, 4)
    left = (u * metric_product(bent, z, v)).sum(1)
    right = (v * metric_product(bent, z, u)).sum(1)
    assert torch.allclose(left, right)
    square = (v * metric_product(bent, z, v)).sum(1)
    assert (square >= 0).all()
    assert torch.allclose(square.sqrt(), metric_norm(bent, z, v))


def test_its_norm_is_a_central_difference_in_single_precision():
    z, v = (x.float() for x in normal(2, 20, 4))
    v = v / v.norm(dim=1, keepdim=True)
    network = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 16)).requires_grad_(False)
    with torch.no_grad():
        h = 1e-2
        difference = (network(z + h * v) - network(z - h * v)).norm(dim=1) / (2 * h)
    assert torch.allclose(metric_norm(network, z, v), difference, atol=1e-4)


def test_a_stochastic_decoder_adds_both_metrics():
    z, v = normal(2, 5, 4)

    def both(z):
        return linear(z), bent(z).exp()

    separate = metric_product(linear, z, v) + metric_product(lambda z: bent(z).exp(), z, v)
    assert torch.allclose(metric_product(both, z, v), separate)
    assert torch.allclose(metric_product(lambda z: [*both(z)], z, v), separate)
    expected = (v * separate).sum(1).sqrt()
    assert torch.allclose(metric_norm(both, z, v), expected)


def test_maps_of_any_shape_without_gradients_recorded():
    z, v = normal(2, 2, 1, 2, 2).float()
    network = nn.Conv2d(1, 3, 1)
    with torch.no_grad():
        product = metric_product(network, z, v)
    weight = network.weight.detach()[:, 0, 0, 0].square().sum()
    assert torch.allclose(product, weight * v)
    assert network.weight.grad is None


def test_the_volume_is_half_the_log_determinant():
    z = normal(3, 4)
    expected = 0.5 * torch.logdet(MATRIX.T @ MATRIX)
    assert torch.allclose(log_volume(linear, z), expected.expand(3))
    for one, found in zip(z, log_volume(bent, z), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: bent(x[None]).flatten(), one)
        assert found == pytest.approx(0.5 * torch.logdet(jacobian.T @ jacobian).item())


def test_polar_coordinates_magnify_by_the_radius():
    z = torch.tensor([[2.0, 0.3], [5.0, 1.0]])

    def plane(z):
        return torch.stack([z[:, 0] * z[:, 1].cos(), z[:, 0] * z[:, 1].sin()], dim=1)

    assert log_volume(plane, z).exp().tolist() == pytest.approx([2, 5], rel=1e-5)


def test_a_dead_direction_leaves_no_volume():
    z = normal(2, 4)
    assert log_volume(lambda z: z[:, :3].repeat(1, 2), z).exp().tolist() == pytest.approx([0, 0])
    assert log_volume(lambda z: z[:, :3], z).tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize(
    ("z", "v", "message"),
    [
        (torch.zeros(2, 4), torch.zeros(2, 3), r"\(2, 4\).*and \(2, 3\)"),
        (torch.zeros(4), torch.zeros(4), r"z and v \(N, \*Z\)"),
        (torch.zeros(2, 4), torch.zeros(2, 4).double(), "float32.*float64"),
        (torch.full((2, 4), math.nan), torch.zeros(2, 4), "finite"),
        (torch.zeros(2, 4), torch.full((2, 4), math.inf), "finite"),
    ],
)
def test_bad_input(z, v, message):
    for product in (metric_product, metric_norm):
        with pytest.raises(ValueError, match=message):
            product(lambda z: z, z, v)


def test_the_volume_of_many_dimensions_is_refused():
    with pytest.raises(ValueError, match=r"1 to 64 numbers, got \(2, 65\)"):
        log_volume(lambda z: z, torch.zeros(2, 65))
