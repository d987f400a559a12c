import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from latentkit.latent.geodesic import density_geodesic, geodesic
from latentkit.latent.interpolate import lerp
from latentkit.latent.render import decode_path
from latentkit.metrics.geometry import energy, gain, path_length, step_lengths
from latentkit.priors import Gaussian


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sphere(z):
    """A chart of the unit sphere: (theta, phi) -> points (N, 1, 3)."""
    theta, phi = z.unbind(1)
    x, y = theta.sin() * phi.cos(), theta.sin() * phi.sin()
    return torch.stack([x, y, theta.cos()], dim=1)[:, None]


def network(seed, dim=4):
    """A small nonlinear decoder (N, dim) -> (N, 1, 5, 5)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Linear(dim, 32), nn.Tanh(), nn.Linear(32, 25), nn.Sigmoid()]
        decode = nn.Sequential(*layers, nn.Unflatten(1, (1, 5, 5)))
        for parameter in decode.parameters():
            parameter.data.mul_(3)
    return decode


def test_on_the_sphere_it_is_the_great_circle():
    a = torch.tensor([[0.6, 0.0], [1.2, -0.5], [0.5, 0.2]])
    b = torch.tensor([[0.7, 2.2], [1.9, 1.0], [2.0, 0.2]])
    ends = [sphere(z)[:, 0] for z in (a, b)]
    expected = (ends[0] * ends[1]).sum(1).acos()
    z = geodesic(a, b, 33, sphere)
    assert torch.equal(z[:, 0], a)
    assert torch.equal(z[:, -1], b)
    images = decode_path(sphere, z)
    assert (path_length(images) / expected - 1).abs().max() < 0.01
    assert torch.allclose(energy(images), expected**2, rtol=0.02)
    line = path_length(decode_path(sphere, lerp(a, b, 33)))
    assert line[0] > 1.1 * expected[0]  # the control: along the parallel it is longer


@pytest.mark.parametrize("steps", [2, 3, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_never_has_more_energy_than_the_line(steps, dtype):
    for seed in range(5):
        decode = network(seed).to(dtype)
        a, b = 2 * normal(2, 16, 4, seed=seed).to(dtype)
        with torch.no_grad():
            line = decode_path(decode, lerp(a, b, steps))
            bent = decode_path(decode, geodesic(a, b, steps, decode, iterations=25))
        assert (energy(bent) <= energy(line)).all()
        assert (gain(bent, line) >= 0).all()
        if steps == 9:
            assert gain(bent, line).mean() > 0.02


@pytest.fixture(scope="module")
def trained():
    """An autoencoder of the digits with four latents, trained for seconds, and codes of digits."""
    x = torch.from_numpy(load_digits().images).float() / 16
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encode = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))
        layers = [nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid()]
        decode = nn.Sequential(*layers, nn.Unflatten(1, (1, 8, 8)))
        parameters = [*encode.parameters(), *decode.parameters()]
        adam = torch.optim.Adam(parameters, 3e-3)
        for _ in range(400):
            batch = x[torch.randint(len(x), (128,))]
            loss = (decode(encode(batch))[:, 0] - batch).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    assert loss < 0.04  # of a variance of 0.14: it has learned the images
    with torch.no_grad():
        return decode.requires_grad_(False), encode(x[:32])


def test_on_a_trained_network_it_is_shorter_in_energy_for_every_pair(trained):
    decode, z = trained
    a, b = z[:16], z[16:]
    bent = decode_path(decode, geodesic(a, b, 16, decode, iterations=150))
    line = decode_path(decode, lerp(a, b, 16))
    ratio = energy(bent) / energy(line)
    assert (ratio <= 1).all()
    assert ratio.mean() < 0.95
    # Strictly shorter than another curve, too: it is not the line that is bad.
    detour = lerp(a, b, 16) + 0.3 * torch.linspace(0, torch.pi, 16).sin()[:, None]
    assert (energy(decode_path(decode, detour)) > energy(bent)).all()


def test_a_hostile_decoder_leaves_the_line():
    """Where every step of the descent is wrong, the best so far is the line."""

    def rough(z):
        return (1000 * z).sin()[:, None] + z[:, None]

    a, b = normal(2, 4, 3)
    z = geodesic(a, b, 9, rough, iterations=10)
    assert (energy(decode_path(rough, z)) <= energy(decode_path(rough, lerp(a, b, 9)))).all()


def test_no_number_leaves_the_line():
    a, b = normal(2, 2, 3)
    z = geodesic(a, b, 5, lambda z: (z / 0)[:, None], iterations=3)
    assert torch.equal(z, lerp(a, b, 5))


def test_the_line_is_the_best_of_a_linear_decoder():
    matrix = normal(4, 30)
    a, b = normal(2, 16, 4, seed=1)

    def linear(z):
        return (z @ matrix)[:, None]

    found = energy(decode_path(linear, geodesic(a, b, 9, linear)))
    assert (found / energy(decode_path(linear, lerp(a, b, 9))) >= 0.999).all()


def test_squared_length_is_at_most_energy_and_equal_at_constant_speed():
    a, b = 2 * normal(2, 8, 4)
    decode = network(0)
    with torch.no_grad():
        line = decode_path(decode, lerp(a, b, 17))
        images = decode_path(decode, geodesic(a, b, 17, decode))
    for paths in (line, images):
        assert (path_length(paths) ** 2 <= energy(paths) * (1 + 1e-6)).all()
    steps = step_lengths(images)
    assert (energy(line) / path_length(line) ** 2).mean() > 1.02
    assert (energy(images) / path_length(images) ** 2 < 1.02).all()
    assert (steps.std(1) / steps.mean(1) < 0.15).all()


def test_the_way_back_is_the_same():
    a, b = normal(2, 4, 4).double()
    decode = network(1).double()
    there, back = geodesic(a, b, 9, decode), geodesic(b, a, 9, decode)
    assert torch.allclose(there, back.flip(1), atol=1e-3)


def test_pairs_do_not_know_each_other():
    a, b = normal(2, 4, 4).double()
    decode = network(1).double()
    together = geodesic(a, b, 7, decode, iterations=30)
    alone = torch.cat([geodesic(a[[i]], b[[i]], 7, decode, iterations=30) for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_latent_shape_and_dtype(dtype):
    a, b = normal(2, 2, 3, 2, 2).to(dtype)
    decode = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh()).to(dtype)
    z = geodesic(a, b, 5, decode, iterations=5)
    assert (z.shape, z.dtype) == ((2, 5, 3, 2, 2), dtype)
    line = decode_path(decode, lerp(a, b, 5))
    assert (energy(decode_path(decode, z)) <= energy(line)).all()


def test_equal_ends_and_no_pairs():
    a = normal(3, 4)
    assert torch.equal(geodesic(a, a, 5, network(0), iterations=3), lerp(a, a, 5))
    assert geodesic(a[:0], a[:0], 5, network(0)).shape == (0, 5, 4)


def test_it_borrows_the_decoder_and_leaves_no_trace():
    decode, (a, b) = network(0), normal(2, 2, 4)
    a.requires_grad_()
    state = torch.get_rng_state()
    with torch.no_grad():  # a geodesic inside of it still finds its way
        z = geodesic(a, b, 9, decode, iterations=20)
        line = lerp(a, b, 9)
    assert not torch.equal(z, line)
    assert not z.requires_grad
    assert a.grad is None
    assert all(p.grad is None and p.requires_grad for p in decode.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_iterations_can_be_watched():
    seen = []
    a, b = normal(2, 2, 4)
    geodesic(a, b, 5, network(0), iterations=3, watch=lambda many: seen.extend(many) or many)
    assert seen == [0, 1, 2]


def test_bad_input():
    a, b = normal(2, 2, 4)
    with pytest.raises(ValueError, match="no gradient passes through decode"):
        geodesic(a, b, 5, torch.no_grad()(network(0)))
    with pytest.raises(ValueError, match=r"\(2, 4\).*and \(2, 3\)"):
        geodesic(a, b[:, :3], 5, network(0))
    with pytest.raises(ValueError, match="finite ends"):
        geodesic(a, b * math.nan, 5, network(0))
    with pytest.raises(ValueError, match="steps >= 2"):
        geodesic(a, b, 1, network(0))
    for wrong in ({"knots": 0}, {"iterations": 0}):
        with pytest.raises(ValueError, match="knots and iterations >= 1"):
            geodesic(a, b, 5, network(0), **wrong)


def ring(z):
    """Log density of latents that lie on the unit circle, up to a constant."""
    return -((z.norm(dim=1) - 1) ** 2) / 0.02


def test_the_density_bends_the_path_onto_the_ring():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    path = density_geodesic(a, b, 17, ring, alpha=1)
    radius = path.norm(dim=2)
    assert lerp(a, b, 17).norm(dim=2).min() < 0.75
    assert radius.min() > 0.9
    assert torch.equal(path[:, 0], a)
    assert torch.equal(path[:, -1], b)


def test_without_density_it_is_the_line():
    a, b = normal(2, 3, 4)
    prior = Gaussian(4)
    assert torch.equal(density_geodesic(a, b, 9, prior.log_prob, alpha=0), lerp(a, b, 9))
    with pytest.raises(ValueError, match="alpha of 0 or more, got -1"):
        density_geodesic(a, b, 9, prior.log_prob, alpha=-1)


def test_under_a_gaussian_the_density_draws_the_path_to_the_middle():
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    path = density_geodesic(a, b, 9, Gaussian(2).log_prob)
    assert path[0, 4].norm() < lerp(a, b, 9)[0, 4].norm()
