import math
from functools import partial

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from latentkit.latent.interpolate import lerp, matched, mixed, slerp, through
from latentkit.priors import Empirical, Gaussian, GaussianOneHot, Uniform

NORMS = ["blend", "unit", "log"]
PATHS = {
    "lerp": lerp,
    "slerp": slerp,
    "slerp-log": partial(slerp, norm="log"),
    "gaussian": lambda a, b, steps: matched(a, b, steps, Gaussian(a.shape[1:].numel())),
    "uniform": lambda a, b, steps: matched(a, b, steps, Uniform(a.shape[1:].numel(), -50, 50)),
}
each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
# Zeros, equal, parallel and opposite ends turn up often among small whole numbers.
numbers = st.integers(-2, 2).map(float) | st.floats(-50, 50, width=16)
ends = st.tuples(st.integers(1, 3), st.integers(1, 4)).flatmap(
    lambda shape: st.tuples(*[arrays("float64", shape, elements=numbers).map(torch.from_numpy)] * 2)
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@each_path
@given(pair=ends, steps=st.integers(2, 6))
@settings(deadline=None, max_examples=50)
def test_both_ends_are_exact_and_all_points_finite(path, pair, steps):
    a, b = pair
    if path is PATHS["slerp-log"]:
        assume(a.any(1).all() and b.any(1).all())
    z = path(a, b, steps)
    assert z.shape == (len(a), steps, a.shape[1])
    assert torch.equal(z[:, 0], a)
    assert torch.equal(z[:, -1], b)
    assert z.isfinite().all()


@each_path
@given(pair=ends, steps=st.integers(2, 6))
@settings(deadline=None, max_examples=50)
def test_the_way_back_is_the_same(path, pair, steps):
    a, b = pair
    if path is PATHS["slerp-log"]:
        assume(a.any(1).all() and b.any(1).all())
    assert torch.allclose(path(a, b, steps), path(b, a, steps).flip(1), atol=1e-5)


@each_path
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_latent_shape_and_dtype(path, dtype):
    a, b = normal(2, 2, 3, 2, 2).to(dtype)
    z = path(a, b, 4)
    assert z.shape == (2, 4, 3, 2, 2)
    assert z.dtype == dtype
    flat = path(a.flatten(1), b.flatten(1), 4)
    assert torch.equal(z.flatten(2), flat)


@each_path
def test_an_empty_batch_gives_no_paths(path):
    assert path(torch.zeros(0, 3), torch.zeros(0, 3), 4).shape == (0, 4, 3)


@each_path
def test_gradients_are_right(path):
    a, b = normal(2, 2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: path(a, b, 4), (a, b))


@each_path
@pytest.mark.parametrize(
    ("a", "b", "steps", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), 3, r"\(2, 3\).*and \(2, 4\)"),
        (torch.zeros(2, 3), torch.zeros(2, 3).double(), 3, "float32.*float64"),
        (torch.zeros(2, 3), torch.zeros(2, 3), 1, "steps >= 2.*got 1"),
        (torch.zeros(3), torch.zeros(3), 3, r"batch with z\[None\]"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3).long(), 3, "floating.*int64"),
    ],
)
def test_bad_input(path, a, b, steps, message):
    with pytest.raises(ValueError, match=message):
        path(a, b, steps)


def test_lerp_shrinks_a_gaussian_to_half_its_variance():
    a, b = normal(2, 20_000, 2)
    assert lerp(a, b, 3)[:, 1].var(0).tolist() == pytest.approx([0.5, 0.5], abs=0.02)


@given(ends, st.integers(2, 6))
@settings(deadline=None, max_examples=50)
def test_lerp_commutes_with_affine_maps(pair, steps):
    a, b = pair
    matrix, shift = normal(a.shape[1], 2, seed=1).double(), normal(2, seed=2).double()
    mapped = lerp(a @ matrix + shift, b @ matrix + shift, steps)
    assert torch.allclose(lerp(a, b, steps) @ matrix + shift, mapped, atol=1e-9)


def angles(z):
    """Angles between neighbours, by the arc cosine in double precision."""
    unit = torch.nn.functional.normalize(z.double(), dim=-1)
    return (unit[:, 1:] * unit[:, :-1]).sum(-1).clamp(-1, 1).acos()


@pytest.mark.parametrize("norm", NORMS)
def test_slerp_turns_at_constant_speed_on_the_sphere(norm):
    a, b = torch.nn.functional.normalize(normal(2, 50, 8), dim=-1)
    z = slerp(a, b, 7, norm)
    assert torch.allclose(z.norm(dim=-1), torch.ones(50, 7), atol=1e-5)
    steps = angles(z)
    whole = angles(torch.stack([a, b], dim=1))
    assert torch.allclose(steps, (whole / 6).expand(50, 6), atol=1e-3)


def test_slerp_blend_is_the_textbook_formula():
    a, b = normal(2, 20, 5).double() * torch.tensor([1.0, 3.0])[:, None, None]
    t = torch.linspace(0, 1, 6, dtype=torch.float64)[None, :, None]
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    w = cosine.acos()[:, None, None]
    expected = (((1 - t) * w).sin() * a[:, None] + (t * w).sin() * b[:, None]) / w.sin()
    assert torch.allclose(slerp(a, b, 6), expected)


def test_slerp_log_has_geometric_lengths_and_unit_has_none():
    a, b = normal(1, 4), 9 * normal(1, 4, seed=1)
    first, middle, last = slerp(a, b, 3, "log")[0].norm(dim=-1)
    assert middle.item() == pytest.approx(math.sqrt(first * last), rel=1e-5)
    assert torch.allclose(slerp(a, b, 3, "unit").norm(dim=-1), torch.ones(1, 3), atol=1e-6)
    assert torch.allclose(slerp(a, b, 3, "unit")[:, 0], a / a.norm())


def test_slerp_keeps_a_high_dimensional_gaussian():
    a, b = normal(2, 4000, 100)
    middle = slerp(a, b, 3)[:, 1]
    assert middle.var().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 64), scale=st.sampled_from([1e-3, 1.0, 40.0]))
@settings(deadline=None, max_examples=50)
def test_slerp_is_never_nan_where_the_arc_cosine_is(norm, dtype, seed, dim, scale):
    a = (normal(4, dim, seed=seed) * scale).to(dtype)
    nearly = a + a.abs().amax() * torch.finfo(dtype).eps * normal(4, dim, seed=seed + 1).to(dtype)
    assume(a.abs().amax(1).min() > 0 and nearly.abs().amax(1).min() > 0)
    for b in (a, -a, 2 * a, nearly, -nearly, -1.5 * nearly, -2 * nearly):
        z = slerp(a, b, 5, norm)
        assert z.isfinite().all()
        longest = torch.stack([a, b]).double().norm(dim=2).amax(0).clamp(min=norm == "unit")
        assert (z.double().norm(dim=2) <= 2.02 * longest[:, None] + 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_ends_that_rounding_moved_from_opposite_ones_take_the_half_turn(dtype, scale):
    a = (normal(200, 64) * scale).to(dtype)
    exact = slerp(a.double(), -2 * a.double(), 5)
    third = (-2 / 3 * a.double()).to(dtype)  # other digits than a's, unlike -2 a
    for b in (-2 * a, 3 * third, 3 * third * (1 + 1e-3)):
        z = slerp(a, b, 5).double()
        assert z.isfinite().all()
        assert torch.allclose(z, exact, rtol=0.05, atol=0.05 * scale)


@pytest.mark.parametrize("short", [1e-4, 4e-4, 1e-2, 0.5, 1.0, 2.0])
def test_unequal_lengths_bulge_to_twice_the_longer_end_at_most(short):
    """Shorter than a half turn by `short` radians; the ends' plane is not left."""
    angle = torch.tensor(math.pi - short, dtype=torch.float64)
    a, b = torch.tensor([[1.0, 0, 0]]), 2 * torch.stack([angle.cos(), angle.sin(), angle * 0])[None]
    z = slerp(a.double(), b, 9)
    assert z.norm(dim=2).max() <= 4 + 1e-9
    single = slerp(a, b.float(), 9)
    assert single.norm(dim=2).max() <= 4.001
    if short > 1e-3:
        assert torch.allclose(single.double(), z, atol=1e-3)
        assert (z[..., 2] == 0).all()
    assert (z[:, 1:] - z[:, :-1]).norm(dim=2).max() < 1.5  # nowhere a leap over most of the way
    if short == 2.0:  # no need of a bound: the textbook's length
        assert z[0, 4].norm() == pytest.approx((a + b)[0].norm().item() / (2 * (angle / 2).cos()))


@pytest.mark.parametrize("norm", NORMS)
def test_slerp_of_equal_ends_stays(norm):
    a = torch.nn.functional.normalize(normal(20, 16), dim=-1)
    assert torch.allclose(slerp(a, a, 4, norm), a[:, None].expand(20, 4, 16), atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dim", [2, 3, 16])
def test_slerp_of_opposite_ends_takes_the_documented_plane(norm, dim):
    a = torch.nn.functional.normalize(normal(5, dim), dim=-1)
    z = slerp(a, -a, 5, norm)
    assert torch.allclose(angles(z), torch.full((5, 4), math.pi / 4, dtype=torch.float64))
    assert torch.allclose(z.norm(dim=-1), torch.ones(5, 5), atol=1e-6)
    least = a.abs().argmin(1, keepdim=True)
    middle = z[:, 2]
    assert (middle.gather(1, least) > 0).all()
    # In the plane of a and that axis: every other coordinate is in proportion to a's.
    rest = torch.ones_like(a).scatter(1, least, 0)
    along = (middle * a * rest).sum(1, keepdim=True) / (a * a * rest).sum(1, keepdim=True)
    assert torch.allclose(middle * rest, along * a * rest, atol=1e-6)


def test_slerp_of_opposite_ends_of_unequal_length_stays_bounded():
    a = normal(3, 4)
    z = slerp(a, -3 * a, 9)
    assert (z.norm(dim=-1) <= 3.001 * a.norm(dim=-1, keepdim=True)).all()


def test_slerp_from_zero_is_straight_or_refused():
    zero, b = torch.zeros(1, 3), normal(1, 3)
    assert torch.allclose(slerp(zero, b, 4), lerp(zero, b, 4))
    for norm in ("unit", "log"):
        with pytest.raises(ValueError, match="non-zero length"):
            slerp(zero, b, 4, norm)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_slerp_neither_over_nor_underflows(scale):
    a, b = normal(2, 3, 4)
    assert torch.allclose(slerp(a * scale, b * scale, 5) / scale, slerp(a, b, 5), atol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1.0, -1.0])
def test_slerp_has_finite_gradients_at_its_seams(scale):
    a = normal(2, 3).requires_grad_()
    b = (scale * a.detach()).requires_grad_()
    slerp(a, b, 5).square().sum().backward()
    assert a.grad.isfinite().all()
    assert b.grad.isfinite().all()


def test_slerp_refuses_an_unknown_norm():
    with pytest.raises(ValueError, match=r"'blend', 'unit', 'log'.*got 'l2'"):
        slerp(torch.ones(1, 2), torch.ones(1, 2), 3, "l2")


def p_values(z, cdf):
    """Kolmogorov-Smirnov p-values of every coordinate at t = 0.1, 0.25 and 0.5."""
    return [stats.kstest(z[:, i, j].numpy(), cdf).pvalue for i in (2, 5, 10) for j in (0, 1)]


@pytest.mark.parametrize(
    ("prior", "cdf"),
    [
        (Gaussian(2), stats.norm().cdf),
        (Gaussian(2, 0.3), stats.norm(scale=0.3).cdf),
        (Uniform(2), stats.uniform(-1, 2).cdf),
        (Uniform(2, 2.0, 5.0), stats.uniform(2, 3).cdf),
    ],
    ids=["gaussian", "gaussian-0.3", "uniform", "uniform-2-5"],
)
def test_matched_follows_the_prior_where_lerp_does_not(prior, cdf):
    generator = torch.Generator().manual_seed(0)
    a, b = (prior.sample(20_000, generator=generator).double() for _ in range(2))
    assert min(p_values(matched(a, b, 21, prior), cdf)) > 1e-3
    assert max(p_values(lerp(a, b, 21), cdf)) < 1e-6


@given(st.integers(2, 30), st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
@settings(deadline=None, max_examples=50)
def test_matched_under_a_uniform_is_monotone_and_bounded(steps, first, second, end):
    low, high = sorted([first, second])
    a = torch.tensor([[low], [high]], dtype=torch.float64)
    z = matched(a, torch.full((2, 1), end, dtype=torch.float64), steps, Uniform(1))
    assert (z[0] <= z[1] + 1e-12).all()
    assert (z.abs() <= 1).all()


def test_matched_refuses_other_priors_and_latents_outside_the_bounds():
    a = torch.full((1, 3), 1.5)
    with pytest.raises(ValueError, match=r"bounds \[-1.0, 1.0\], got values in \[1.5, 1.5\]"):
        matched(a, a, 3, Uniform(3))
    with pytest.raises(ValueError, match="got Empirical; use lerp or slerp"):
        matched(a, a, 3, Empirical(a))
    with pytest.raises(ValueError, match="prior's 4 numbers"):
        matched(a, a, 3, Gaussian(4))


def test_matched_accepts_a_bound_rounded_to_half_precision():
    a = torch.tensor([[0.3]], dtype=torch.float16)  # 0.30005, beyond the bound
    assert matched(a, -a, 3, Uniform(1, -0.3, 0.3)).isfinite().all()


@each_path
@pytest.mark.parametrize("anchors", [2, 3, 5])
@pytest.mark.parametrize("steps", [2, 4])
def test_a_path_through_anchors_hits_each(path, anchors, steps):
    points = normal(anchors, 3)
    z = through(points, steps, path)
    assert z.shape == ((anchors - 1) * (steps - 1) + 1, 3)
    assert torch.equal(z[:: steps - 1], points)
    assert torch.equal(z[:steps], path(points[:1], points[1:2], steps)[0])


def test_a_path_through_repeated_anchors_waits_there():
    points = normal(2, 3)[[0, 0, 1]]
    assert torch.equal(through(points, 3, slerp)[:3], points[:1].expand(3, 3))


def test_a_path_needs_two_anchors():
    with pytest.raises(ValueError, match=r"at least 2 anchors.*\(1, 3\)"):
        through(torch.zeros(1, 3), 4)


def test_matched_is_finite_and_reversible_in_half_precision():
    for dtype in (torch.float16, torch.bfloat16):
        for prior in (Gaussian(4), Uniform(4)):
            a, b = prior.sample(100, generator=torch.Generator().manual_seed(0)).to(dtype).chunk(2)
            z = matched(a, b, 7, prior)
            assert z.isfinite().all()
            back = matched(b, a, 7, prior).flip(1)
            assert torch.allclose(z, back, rtol=2 * torch.finfo(dtype).eps, atol=1e-3)


@each_path
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_ends_that_are_no_numbers_are_refused(path, bad):
    a = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="finite ends, got NaN or infinity"):
        path(a, torch.full((2, 3), bad), 3)


MIXED = GaussianOneHot(2, 5, 0.1)


@pytest.mark.parametrize("classes", ["simplex", "switch"])
def test_a_mixed_path_matches_its_gaussian_part_where_lerp_does_not(classes):
    generator = torch.Generator().manual_seed(0)
    a, b = (MIXED.sample(20_000, generator=generator).double() for _ in range(2))
    cdf = stats.norm(scale=0.1).cdf
    z = mixed(a, b, 21, MIXED, classes)
    assert min(p_values(z, cdf)) > 1e-3
    assert max(p_values(lerp(a, b, 21), cdf)) < 1e-6
    assert torch.equal(z[:, 0], a)
    assert torch.equal(z[:, -1], b)
    code = z[..., 2:]
    assert torch.allclose(code.sum(2), torch.ones_like(code[..., 0]))
    assert (code >= 0).all()


def test_classes_switch_in_the_middle_or_walk_the_simplex():
    a, b = torch.zeros(2, 1, 7)
    a[0, 2 + 1] = b[0, 2 + 4] = 1
    assert mixed(a, b, 5, MIXED, "switch")[0, :, 2:].argmax(1).tolist() == [1, 1, 4, 4, 4]
    assert mixed(a, b, 4, MIXED, "switch")[0, :, 2:].argmax(1).tolist() == [1, 1, 4, 4]
    straight = mixed(a, b, 5, MIXED)[0, :, 2:]
    assert straight[:, 1].tolist() == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert torch.equal(matched(a, b, 5, MIXED), mixed(a, b, 5, MIXED, "simplex"))


def test_a_mixed_prior_without_spread_stays_at_its_point():
    prior = GaussianOneHot(3, 2, 0.0)
    a, b = prior.sample(8, generator=torch.Generator().manual_seed(0)).chunk(2)
    assert not matched(a, b, 4, prior)[..., :3].any()


def test_mixed_ends_must_be_classes():
    with pytest.raises(ValueError, match=r"latents \(N, 7\), got shape \(1, 4\)"):
        matched(torch.zeros(1, 4), torch.zeros(1, 4), 3, MIXED)
    with pytest.raises(ValueError, match="with sum 1, got 1 of 1"):
        matched(torch.zeros(1, 7), torch.zeros(1, 7), 3, MIXED)
    with pytest.raises(ValueError, match="'simplex', 'switch'"):
        mixed(torch.eye(7)[2:3], torch.eye(7)[3:4], 3, MIXED, "halves")
