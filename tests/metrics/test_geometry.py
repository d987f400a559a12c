import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from latentkit.latent.interpolate import slerp
from latentkit.metrics.geometry import (
    arc,
    energy,
    gain,
    path_length,
    perceptual_path_length,
    step_lengths,
)


def test_a_circle_has_its_circumference():
    t = torch.linspace(0, 2 * math.pi, 1001)
    circle = torch.stack([t.cos(), t.sin()], dim=1).reshape(1, -1, 1, 2)
    assert path_length(2 * circle).item() == pytest.approx(4 * math.pi, rel=1e-4)


@pytest.mark.parametrize("size", [(5,), (4, 3), (2, 3, 2)])
def test_a_line_has_the_length_of_its_chord_in_equal_steps(size):
    a, b = torch.rand(2, 3, 1, 2, *size, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0, 1, 6).reshape(1, 6, *[1] * (len(size) + 1))
    line = a + t * (b - a)
    chord = (b - a).flatten(1).norm(dim=1)
    assert torch.allclose(path_length(line), chord, rtol=1e-5)
    assert torch.allclose(step_lengths(line), (chord / 5)[:, None].expand(3, 5), rtol=1e-4)


def test_a_detour_is_longer_than_the_chord_by_hand():
    path = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]]])
    assert step_lengths(path).tolist() == [[5, 4]]


@pytest.mark.parametrize("shape", [(3, 4), (3, 1, 4)])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match="at least 2 steps"):
        path_length(torch.zeros(shape))


def ends(n=5, dim=4):
    return torch.randn(2, n, dim, generator=torch.Generator().manual_seed(0)).double()


def curved(z):
    """A decoder and features in one, with a changing Jacobian."""
    weight = torch.arange(24).view(4, 6).sin().to(z)
    return (z @ weight).tanh().reshape(len(z), 1, 2, 3) ** 2


def test_points_of_an_arc_are_slerps():
    a, b = ends()
    path = slerp(a, b, 5)
    for i, t in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        assert torch.allclose(arc(a, b, torch.full((5,), t).double())[0], path[:, i])


@pytest.mark.parametrize("kind", ["general", "parallel", "opposite"])
def test_the_speed_of_an_arc_is_its_derivative(kind):
    a, b = ends()
    b = {"general": b, "parallel": 2 * a, "opposite": -a}[kind]
    t, step = torch.linspace(0.1, 0.9, 5).double(), 1e-6
    slow = (arc(a, b, t + step)[0] - arc(a, b, t - step)[0]) / (2 * step)
    assert torch.allclose(arc(a, b, t)[1], slow, atol=1e-6)


def test_the_path_length_of_a_linear_decoder_is_known():
    weight = torch.randn(4, 9, generator=torch.Generator().manual_seed(1)).double()
    z, dz = ends()
    expected = torch.einsum("nd,de,ne->n", dz, weight @ weight.T, dz)
    found = perceptual_path_length(lambda z: (z @ weight).view(-1, 1, 3, 3), z, dz)
    assert torch.allclose(found, expected)


def test_the_path_length_of_a_linear_decoder_of_a_gaussian_is_twice_its_norm():
    """Of lerp between independent ends: E |A (b - a)|^2 = 2 |A|_F^2."""
    weight = torch.randn(16, 40, generator=torch.Generator().manual_seed(1)).double()
    a, b = torch.randn(2, 40_000, 16, generator=torch.Generator().manual_seed(2)).double()
    found = perceptual_path_length(lambda z: z @ weight, (a + b) / 2, b - a)
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - 2 * weight.square().sum()) < 3 * error < 0.01 * found.mean()


def test_the_path_length_of_unit_arcs_is_their_squared_angle():
    """A = I on the sphere: 2 (1 - cos(eps w)) / eps^2, which goes to w^2."""
    a, b = torch.nn.functional.normalize(ends(50)[0].unsqueeze(0).expand(2, -1, -1), dim=2)
    b = b.roll(1, 0)
    angle = (a * b).sum(1).clamp(-1, 1).acos()
    t = torch.full((50,), 0.3, dtype=torch.float64)
    z, dz = arc(a, b, t)
    assert torch.allclose(perceptual_path_length(lambda z: z, z, dz), angle**2)
    for epsilon in (0.3, 0.01):
        gap = (arc(a, b, t + epsilon)[0] - z).square().sum(1) / epsilon**2
        assert torch.allclose(gap, 2 * (1 - (epsilon * angle).cos()) / epsilon**2)
        along = lambda s: arc(a, b, s[:, 0])[0]  # noqa: E731
        found = perceptual_path_length(along, t[:, None], torch.ones(50, 1).double(), epsilon)
        assert torch.allclose(found, gap)


def test_the_limit_is_where_small_steps_lead():
    z, dz = ends()
    limit = perceptual_path_length(curved, z, dz)
    gaps = [
        (perceptual_path_length(curved, z, dz, epsilon) - limit).abs().max().item()
        for epsilon in (1e-1, 1e-2, 1e-3, 1e-4)
    ]
    assert gaps[3] < 1e-3 * limit.max()
    assert all(small < 0.2 * large for large, small in itertools.pairwise(gaps))


def test_the_limit_is_that_of_the_jacobian():
    z, dz = ends()
    full = torch.func.vmap(torch.func.jacrev(lambda z: curved(z[None]).flatten()))(z)
    expected = torch.einsum("nfd,nd->nf", full, dz).square().sum(1)
    assert torch.allclose(perceptual_path_length(curved, z, dz), expected)


def test_a_decoder_that_stands_still_has_no_length_and_one_twice_as_fast_four_times():
    z, dz = ends()
    assert perceptual_path_length(lambda z: 0 * z, z, dz).abs().max() == 0
    once, twice = (perceptual_path_length(curved, z, k * dz) for k in (1, 2))
    assert torch.allclose(twice, 4 * once)


@torch.no_grad()
def test_the_limit_works_without_gradients():
    z, dz = ends()
    assert perceptual_path_length(curved, z, dz).min() > 0


@pytest.mark.parametrize("leave", ["numpy", "detach"])
def test_features_without_derivative_are_refused_but_stepped_over(leave):
    def perceive(z):
        x = curved(z)
        return torch.from_numpy(x.numpy()) if leave == "numpy" else x.detach()

    z, dz = ends()
    with pytest.raises(ValueError, match=r"no derivative passes .*give epsilon"):
        perceptual_path_length(perceive, z, dz)
    found = perceptual_path_length(perceive, z, dz, 1e-5)
    assert torch.allclose(found, perceptual_path_length(curved, z, dz), rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: arc(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(2)), r"and \(2,\)"),
        (lambda: arc(torch.zeros(3), torch.zeros(3), torch.zeros(3)), r"got \(3,\)"),
        (lambda: perceptual_path_length(curved, *torch.zeros(2, 3)), r"\(3,\) and \(3,\)"),
        (
            lambda: perceptual_path_length(curved, ends()[0] * torch.nan, ends()[1]),
            "finite z and dz",
        ),
        (lambda: perceptual_path_length(curved, *ends(), -1.0), "above 0, got -1.0"),
    ],
)
def test_bad_paths(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(arrays("float64", (2, 5, 1, 3), elements=st.floats(-5, 5)))
@settings(deadline=None, max_examples=50)
def test_squared_length_never_exceeds_the_energy(images):
    x = torch.from_numpy(images)
    assert (path_length(x) ** 2 <= energy(x) + 1e-9).all()
    slow = [4 * sum(((p[i + 1] - p[i]) ** 2).sum() for i in range(4)) for p in images]
    assert energy(x).tolist() == pytest.approx(slow)


def test_energy_is_the_squared_length_at_constant_speed():
    x = torch.linspace(0, 3, 7)[None, :, None]
    assert energy(x).item() == pytest.approx(9)
    assert energy(x[:, [0, 1, 6]]).item() > 9 + 1


def test_the_gain_is_the_share_of_energy_that_is_saved():
    images = torch.tensor([[[0.0], [1.0], [2.0]], [[0.0], [2.0], [4.0]], [[0.0], [0.0], [0.0]]])
    line = torch.tensor([[[0.0], [2.0], [2.0]], [[0.0], [2.0], [4.0]], [[1.0], [1.0], [1.0]]])
    assert gain(images, line).tolist() == [0.5, 0, 0]
    with pytest.raises(ValueError, match=r"\(3, 3, 1\) and \(3, 2, 1\)"):
        gain(images, line[:, :2])
    with pytest.raises(ValueError, match="at least 2 steps"):
        energy(images[:, :1])
