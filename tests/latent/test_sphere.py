import math

import pytest
import torch
from scipy.optimize import minimize

from latentkit.latent.interpolate import slerp
from latentkit.latent.sphere import frechet_mean


def cap(n, k, dim, seed=0):
    """Points within an open half sphere, of any length."""
    x = torch.randn(n, k, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[..., 0] = x[..., 0].abs() + 0.5
    return x


def angles(centre, points):
    unit = torch.nn.functional.normalize(points, dim=2)
    return (unit * centre[:, None]).sum(2).clamp(-1, 1).acos()


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_two_points_meet_at_slerps_middle(dim):
    points = cap(20, 2, dim)
    middle = slerp(points[:, 0], points[:, 1], 3, "unit")[:, 1]
    assert torch.allclose(frechet_mean(points), middle, atol=1e-9)


def test_weights_are_fractions_of_the_arc():
    points = cap(5, 2, 3)
    quarter = slerp(points[:, 0], points[:, 1], 5, "unit")[:, 1]
    assert torch.allclose(frechet_mean(points, [3, 1]), quarter, atol=1e-9)


def test_the_gradient_vanishes_there():
    points = cap(10, 6, 4)
    mean = frechet_mean(points).requires_grad_()
    loss = angles(mean / mean.norm(dim=1, keepdim=True), points).square().sum()
    (gradient,) = torch.autograd.grad(loss, mean)
    assert gradient.abs().max() < 1e-9


def test_no_other_direction_is_closer():
    points = cap(1, 5, 3, seed=3)

    def loss(x):
        centre = torch.nn.functional.normalize(torch.from_numpy(x)[None], dim=1)
        return angles(centre, points).square().sum().item()

    found = minimize(loss, [1.0, 0.2, -0.2], method="Nelder-Mead", tol=1e-10)
    assert loss(frechet_mean(points)[0].numpy()) <= found.fun + 1e-9


def test_it_is_not_the_normalised_mean():
    """A control: with uneven angles the two differ."""
    turn = torch.tensor([0.0, 0.1, 1.5])
    points = torch.stack([turn.cos(), turn.sin()], dim=1)[None]
    mean = frechet_mean(points)[0]
    assert math.atan2(mean[1], mean[0]) == pytest.approx(1.6 / 3, abs=1e-5)
    plain = points.mean(1)[0]
    assert abs(math.atan2(plain[1], plain[0]) - 1.6 / 3) > 1e-2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_shape_and_dtype(dtype):
    points = cap(4, 3, 12).to(dtype).reshape(4, 3, 3, 2, 2)
    mean = frechet_mean(points)
    assert (mean.shape, mean.dtype) == ((4, 3, 2, 2), dtype)
    assert torch.allclose(mean.float().flatten(1).norm(dim=1), torch.ones(4), atol=1e-2)
    same = frechet_mean(points[:, :1].repeat(1, 2, 1, 1, 1)).flatten(1).float()
    expected = torch.nn.functional.normalize(points[:, 0].flatten(1).float(), dim=1)
    assert torch.allclose(same, expected, atol=1e-2)


@pytest.mark.parametrize(
    ("points", "weights", "message"),
    [
        (torch.zeros(2, 3), None, r"points \(N, K, \*Z\)"),
        (torch.zeros(2, 0, 3), None, "K >= 1"),
        (torch.zeros(2, 2, 3), None, "non-zero length"),
        (torch.full((2, 2, 3), math.nan), None, "finite points"),
        (torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]]), None, "cancel each other"),
        (torch.ones(1, 2, 2), [1], "2 weights of 0 or more"),
        (torch.ones(1, 2, 2), [1, -1], "2 weights of 0 or more"),
        (torch.ones(1, 2, 2), [0, 0], "not all 0"),
    ],
)
def test_bad_input(points, weights, message):
    with pytest.raises(ValueError, match=message):
        frechet_mean(points, weights)
