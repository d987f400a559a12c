import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.interpolate import CubicSpline

from latentkit.latent.curves import catmull_rom, even, spline
from latentkit.latent.interpolate import lerp
from latentkit.latent.render import decode_path
from latentkit.metrics.geometry import step_lengths
from latentkit.priors import Gaussian, GaussianOneHot, Uniform

CURVES = {"spline": spline, "catmull-rom": catmull_rom}
each_curve = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each_curve
@given(k=st.integers(2, 7), steps=st.integers(2, 6), closed=st.booleans(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_it_hits_every_anchor_and_a_loop_returns(curve, k, steps, closed, seed):
    points = normal(k, 3, seed=seed)
    z = curve(points, steps, closed)
    segments = k if closed else k - 1
    assert z.shape == (segments * (steps - 1) + 1, 3)
    assert torch.allclose(z[:: steps - 1][:k], points, atol=1e-6)
    assert torch.equal(z[0], points[0])
    assert torch.equal(z[-1], points[0] if closed else points[-1])


def speeds(points, z, steps, power):
    """Derivatives by the curve's parameter just before and just after every anchor, (S, D) each.

    The parameter grows by |distance|^power over a segment: second-order one-sided differences.
    """
    whole = torch.cat([points, points[:1]])[: (len(z) - 1) // (steps - 1) + 1]
    length = whole.diff(dim=0).norm(dim=1, keepdim=True) ** power
    parts = torch.stack([z[i : i + steps] for i in range(0, len(z) - 1, steps - 1)])
    h = length / (steps - 1)
    leaving = (-3 * parts[:, 0] + 4 * parts[:, 1] - parts[:, 2]) / (2 * h)
    arriving = (3 * parts[:, -1] - 4 * parts[:, -2] + parts[:, -3]) / (2 * h)
    return arriving, leaving


@pytest.mark.parametrize(("curve", "power"), [(spline, 0), (catmull_rom, 0.5)])
@pytest.mark.parametrize("closed", [False, True])
def test_left_and_right_derivatives_agree(curve, power, closed):
    points = normal(5, 3)
    arriving, leaving = speeds(points, curve(points, 2001, closed), 2001, power)
    assert torch.allclose(arriving[:-1], leaving[1:], atol=1e-4)
    if closed:
        assert torch.allclose(arriving[-1], leaving[0], atol=1e-4)
    corner = lerp(points[:-1], points[1:], 2001)  # the control: a polyline has corners
    corner = torch.cat([corner[:, :-1].flatten(0, 1), points[-1:]])
    arriving, leaving = speeds(points, corner, 2001, power)
    assert not torch.allclose(arriving[:-1], leaving[1:], atol=0.1)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("k", [2, 3, 6])
def test_the_spline_is_scipys(closed, k):
    points = normal(k, 4)
    whole = np.concatenate([points, points[:1]]) if closed else points.numpy()
    kind = "periodic" if closed else "natural"
    peer = CubicSpline(np.arange(len(whole)), whole, bc_type=kind)
    z = spline(points, 9, closed)
    assert z.numpy() == pytest.approx(peer(np.linspace(0, len(whole) - 1, len(z))), abs=1e-9)


def test_catmull_rom_is_the_recursive_formula():
    """Barry and Goldman's pyramid, written out for one inner segment."""
    p = normal(4, 2)
    t = [0.0]
    for i in range(3):
        t.append(t[-1] + math.sqrt((p[i + 1] - p[i]).norm()))

    def blend(first, second, i, j, x):
        return ((t[j] - x) * first + (x - t[i]) * second) / (t[j] - t[i])

    z = catmull_rom(p, 5)[4:9]
    for point, x in zip(z, np.linspace(t[1], t[2], 5), strict=True):
        one = [blend(p[i], p[i + 1], i, i + 1, x) for i in range(3)]
        two = [blend(one[i], one[i + 1], i, i + 2, x) for i in range(2)]
        assert torch.allclose(blend(*two, 1, 2, x), point)


@each_curve
def test_two_anchors_are_joined_by_the_line(curve):
    points = normal(2, 3)
    line = lerp(points[:1], points[1:], 7)[0]
    assert torch.allclose(curve(points, 7), line, atol=1e-12)


def test_two_anchors_under_a_prior_are_joined_by_the_matched_line_of_its_weights():
    points = normal(2, 3)
    z = spline(points, 3, prior=Gaussian(3))
    assert torch.allclose(z[1], points.sum(0) / math.sqrt(2))


@each_curve
@pytest.mark.parametrize("closed", [False, True])
def test_a_repeated_anchor_is_waited_at(curve, closed):
    a, b, c = normal(3, 3)
    z = curve(torch.stack([a, b, b, c]), 4, closed)
    plain = curve(torch.stack([a, b, c]), 4, closed)
    assert z.isfinite().all()
    assert torch.equal(z[3:7], b.expand(4, 3))
    assert torch.equal(torch.cat([z[:4], z[7:]]), plain)
    still = curve(torch.stack([a, a, a]), 4, closed)
    assert torch.equal(still, a.expand(len(still), 3))
    home = curve(torch.stack([a, b, c, a]), 4, closed)
    assert torch.equal(home[9], a)
    assert torch.equal(home[-1], a)


@each_curve
def test_anchors_next_to_each_other_make_no_detour(curve):
    points = torch.tensor([[0.0], [1.0], [1.0 + 1e-9], [2.0]], dtype=torch.float64)
    z = curve(points, 20)
    assert z.isfinite().all()
    assert z.min() > -0.5
    assert z.max() < 2.5


def test_a_spline_under_a_prior_follows_it_where_the_plain_one_does_not():
    """Of 20,000 coordinates, each anchor's an independent draw."""
    for prior, cdf in (
        (Gaussian(20_000), stats.norm().cdf),
        (Uniform(20_000), stats.uniform(-1, 2).cdf),
    ):
        points = prior.sample(4, generator=torch.Generator().manual_seed(0))
        for closed in (False, True):
            z = spline(points, 5, closed, prior)
            assert torch.equal(z[:13:4], points)
            for i in (1, 2, 6, 11):
                assert stats.kstest(z[i].numpy(), cdf).pvalue > 1e-3
            plain = spline(points, 5, closed)
            assert min(stats.kstest(plain[i].numpy(), cdf).pvalue for i in (2, 6)) < 1e-6


def test_a_spline_of_classes_stays_on_the_simplex():
    prior = GaussianOneHot(2, 4)
    points = prior.sample(5, generator=torch.Generator().manual_seed(0))
    code = spline(points, 6, True, prior)[:, 2:]
    assert (code >= 0).all()
    assert torch.allclose(code.sum(1), torch.ones(len(code)), atol=1e-6)


@each_curve
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_latent_shape_and_dtype(curve, dtype):
    points = normal(4, 3, 2, 2).to(dtype)
    z = curve(points, 5)
    assert (z.shape, z.dtype) == ((13, 3, 2, 2), dtype)
    assert torch.allclose(z[::4], points)
    assert torch.allclose(z.flatten(1), curve(points.flatten(1), 5))


@each_curve
@pytest.mark.parametrize("closed", [False, True])
def test_gradients_are_right(curve, closed):
    points = normal(4, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: curve(p, 4, closed), (points,))


@each_curve
@pytest.mark.parametrize(
    ("points", "steps", "message"),
    [
        (torch.zeros(1, 3), 4, r"at least 2 anchors.*\(1, 3\)"),
        (torch.zeros(3), 4, "at least 2 anchors"),
        (torch.zeros(2, 3), 1, "steps >= 2"),
        (torch.full((2, 3), math.nan), 4, "finite floating anchors"),
        (torch.zeros(2, 3).long(), 4, "finite floating anchors"),
    ],
)
def test_bad_input(curve, points, steps, message):
    with pytest.raises(ValueError, match=message):
        curve(points, steps)


def bent(z):
    """Slow at the start, fast at the end, and curved: (N, 2) -> (N, 1, 3)."""
    x, y = z[:, :1], z[:, 1:]
    return torch.stack([(2 * x).exp(), (3 * x).sin() + y, y * y], dim=2)


def variation(path):
    """Coefficient of variation of the decoded steps of each path."""
    steps = step_lengths(decode_path(bent, path))
    return steps.std(1) / steps.mean(1)


def test_even_makes_equal_steps_where_the_path_made_unequal_ones():
    path = lerp(0.5 * normal(3, 2), 0.5 * normal(3, 2, seed=1) + 1, 6)
    z = even(path, bent, 30)
    assert z.shape == (3, 30, 2)
    assert torch.equal(z[:, 0], path[:, 0])
    assert torch.equal(z[:, -1], path[:, -1])
    assert (variation(z) < 0.05).all()
    assert (variation(lerp(path[:, 0], path[:, -1], 30)) > 0.1).any()


def test_even_stays_on_the_path_and_in_order():
    points = normal(5, 2)
    z = even(spline(points, 40)[None], bent, 50)[0]
    dense = spline(points, 4001)
    distance, place = torch.cdist(z, dense).min(1)
    assert distance.max() < 1e-2
    assert (place.diff() > 0).all()


def test_even_of_a_still_image_or_a_still_path_is_even_in_the_latents():
    path = lerp(torch.zeros(1, 2), torch.ones(1, 2), 3)
    z = even(path, lambda z: torch.zeros(len(z), 1, 2), 5)
    assert torch.allclose(z, lerp(torch.zeros(1, 2), torch.ones(1, 2), 5))
    still = torch.ones(1, 3, 2)
    assert torch.equal(even(still, bent, 4), torch.ones(1, 4, 2))


def test_even_skips_what_does_not_change():
    """Where the image stands still on a part of the path, no point of the new one waits there."""
    path = lerp(torch.zeros(1, 1), torch.ones(1, 1), 9)
    z = even(path, lambda z: (z - 0.5).clamp(min=0)[:, :, None], 5)[0, :, 0]
    assert z.tolist() == pytest.approx([0, 0.625, 0.75, 0.875, 1], abs=1e-6)


def test_even_keeps_dtype_and_gradients():
    path = normal(2, 4, 2).float().requires_grad_()
    z = even(path, bent, 6)
    z.sum().backward()
    assert z.dtype == torch.float32
    assert path.grad.isfinite().all()
    assert even(normal(2, 4, 2, 1).bfloat16(), lambda z: z, 3).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("path", "steps", "refine"),
    [
        (torch.zeros(2, 3), 4, 8),
        (torch.zeros(1, 1, 3), 4, 8),
        (torch.zeros(1, 2, 3), 1, 8),
        (torch.zeros(1, 2, 3), 4, 0),
    ],
)
def test_even_refuses_bad_input(path, steps, refine):
    with pytest.raises(ValueError, match=r"expected a path \(N, T, \*Z\)"):
        even(path, bent, steps, refine)
    with pytest.raises(ValueError, match="finite path, got NaN"):
        even(torch.full((1, 2, 3), torch.nan), bent, 4)
