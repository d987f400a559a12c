import math

import pytest
import torch
from scipy import stats

from latentkit.latent.interpolate import matched, slerp
from latentkit.latent.matching import analogy, combine, mean, vicinity
from latentkit.priors import Empirical, Gaussian, GaussianOneHot, Uniform

SIZE = 20_000
PRIORS = {
    "gaussian": (Gaussian(2), stats.norm().cdf),
    "gaussian-0.3": (Gaussian(2, 0.3), stats.norm(scale=0.3).cdf),
    "uniform": (Uniform(2), stats.uniform(-1, 2).cdf),
    "uniform-2-5": (Uniform(2, 2.0, 5.0), stats.uniform(2, 3).cdf),
}
each_prior = pytest.mark.parametrize(("prior", "cdf"), PRIORS.values(), ids=PRIORS.keys())
# What each operation is without matching: the control that must fail the same test.
WEIGHTS = {
    "analogy": [1, 1, -1],
    "three": [0.5, 0.3, 0.2],
    "uneven": [0.9, 0.09, 0.01],
    "five": [1, 1, 1, 1, 1],
    "differences": [-1, -0.5, 1],
}


def samples(prior, k, seed=0):
    """K independent draws for each of SIZE results: (SIZE, K, D)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([prior.sample(SIZE, generator=generator).double() for _ in range(k)], dim=1)


def p_values(z, cdf):
    """Kolmogorov-Smirnov p-value of every coordinate."""
    return [stats.kstest(column.numpy(), cdf).pvalue for column in z.T]


@each_prior
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_a_combination_follows_the_prior_where_the_plain_sum_does_not(prior, cdf, weights):
    points = samples(prior, len(weights))
    assert min(p_values(combine(points, weights, prior), cdf)) > 1e-3
    w = torch.tensor(weights, dtype=torch.float64)
    plain = (w[:, None] * points).sum(1) / (w.sum() if w.sum() > 0 else 1)
    assert max(p_values(plain, cdf)) < 1e-6


@each_prior
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0])
def test_a_vicinity_follows_the_prior_where_added_noise_does_not(prior, cdf, epsilon):
    z = samples(prior, 1)[:, 0]
    generator = torch.Generator().manual_seed(1)
    near = vicinity(z, epsilon, prior, generator=generator)[:, 0]
    assert min(p_values(near, cdf)) > 1e-3
    if epsilon > 0.1:  # less noise than that is too little for the test to see
        noise = prior.sample(SIZE, generator=generator)
        assert max(p_values(z + epsilon * noise, cdf)) < 1e-6


@each_prior
def test_two_points_are_those_of_the_matched_line(prior, cdf):
    a, b = samples(prior, 2)[:50].unbind(1)
    path = matched(a, b, 5, prior)
    for i, t in enumerate((0.25, 0.5, 0.75), start=1):
        found = mean(torch.stack([a, b], dim=1), [1 - t, t], prior)
        assert torch.allclose(found, path[:, i], atol=1e-9)


def test_gaussian_operations_are_the_papers_closed_forms():
    prior = Gaussian(3, 0.7)
    a, b, c = samples(prior, 3)[:20, :, :].unbind(1)
    assert torch.allclose(analogy(a, b, c, prior), (c + b - a) / math.sqrt(3))
    equal = mean(torch.stack([a, b, c], dim=1), None, prior)
    assert torch.allclose(equal, (a + b + c) / math.sqrt(3))
    near = vicinity(a, 0.5, prior, 4, generator=torch.Generator().manual_seed(5))
    noise = prior.sample(80, generator=torch.Generator().manual_seed(5)).reshape(20, 4, 3)
    assert torch.allclose(near, (a[:, None] + 0.5 * noise) / math.sqrt(1.25))


@each_prior
def test_one_weight_gives_the_point_itself_and_the_scale_does_not_matter(prior, cdf):
    points = samples(prior, 3)[:10].float()
    assert torch.equal(mean(points, [0, 2, 0], prior), points[:, 1])
    assert torch.equal(vicinity(points[:, 0], 0, prior, 2), points[:, :1].expand(10, 2, 2))
    one, many = mean(points, [1, 2, 3], prior), mean(points, [10, 20, 30], prior)
    assert torch.allclose(one, many, atol=1e-6)


@each_prior
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_latent_shape_and_dtype(prior, cdf, dtype):
    size = type(prior)(12, *([2.0, 5.0] if isinstance(prior, Uniform) else [0.3]))
    flat = samples(size, 3)[:4].to(dtype)
    if isinstance(prior, Uniform):
        flat = flat.clamp(2, 5)
    points = flat.reshape(4, 3, 3, 2, 2)
    z = mean(points, [3, 2, 1], size)
    assert (z.shape, z.dtype) == ((4, 3, 2, 2), dtype)
    assert torch.equal(z.flatten(1), mean(flat, [3, 2, 1], size))
    assert vicinity(points[:, 0], 0.2, size, 2).shape == (4, 2, 3, 2, 2)
    assert vicinity(points[:, 0], 0.2, size).dtype == dtype


@each_prior
def test_gradients_are_right(prior, cdf):
    points = samples(prior, 3)[:2].requires_grad_()
    assert torch.autograd.gradcheck(lambda p: combine(p, [2, 1, -1], prior), (points,))


def test_a_generator_alone_decides_the_vicinity():
    z, state = torch.zeros(2, 3), torch.get_rng_state()
    first, second, other = (
        vicinity(z, 1, Gaussian(3), generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


MIXED = GaussianOneHot(2, 4, 0.1)


@pytest.mark.parametrize("classes", ["simplex", "switch"])
def test_a_mixed_prior_keeps_its_gaussian_part_and_probabilities(classes):
    points = samples(MIXED, 3)
    z = mean(points, [3, 2, 1], MIXED, classes)
    gaussian, code = MIXED.split(z)
    assert min(p_values(gaussian, stats.norm(scale=0.1).cdf)) > 1e-3
    codes = MIXED.split(points.flatten(0, 1))[1].reshape(SIZE, 3, 4)
    if classes == "switch":
        assert torch.equal(code, codes[:, 0])
    else:
        weights = torch.tensor([3, 2, 1], dtype=torch.float64) / 6
        assert torch.allclose(code, (weights[:, None] * codes).sum(1))


def test_analogies_of_classes():
    one = torch.eye(4)
    latent = [torch.cat([torch.zeros(1, 2), one[[k]]], dim=1) for k in range(4)]
    a, b, c = latent[0], latent[1], latent[2]
    assert torch.equal(analogy(a, b, a, MIXED), b)  # a is to b as a is to b
    assert torch.equal(analogy(a, a, c, MIXED), c)
    assert analogy(a, b, c, MIXED)[0, 2:].tolist() == pytest.approx([0, 0.5, 0.5, 0], abs=1e-6)
    assert torch.equal(analogy(a, b, c, MIXED, "switch"), b)


def test_a_mixed_prior_without_spread_and_its_vicinity():
    flat = GaussianOneHot(2, 4, 0.0)
    z = flat.sample(6, generator=torch.Generator().manual_seed(0))
    near = vicinity(z, 0.5, flat, 3)
    assert torch.equal(near, z[:, None].expand(6, 3, 6))
    moved = vicinity(z, 0.5, MIXED, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(moved[..., 2:], near[..., 2:])
    assert (moved[..., :2] != 0).all()


@pytest.mark.parametrize(
    ("points", "weights", "prior", "message"),
    [
        (torch.zeros(2, 3), [1, 1, 1], Gaussian(3), r"points \(N, K, \*Z\).*\(2, 3\)"),
        (torch.zeros(2, 0, 3), [], Gaussian(3), r"K >= 1.*\(2, 0, 3\)"),
        (torch.zeros(2, 2, 3).long(), [1, 1], Gaussian(3), "floating.*int64"),
        (torch.zeros(2, 2, 3), [1, 1, 1], Gaussian(3), "2 finite weights"),
        (torch.zeros(2, 2, 3), [0, 0], Gaussian(3), "not all 0"),
        (torch.zeros(2, 2, 3), [1, math.nan], Gaussian(3), "finite weights"),
        (torch.full((2, 2, 3), math.nan), [1, 1], Gaussian(3), "finite points, got NaN"),
        (torch.full((2, 2, 3), 2.0), [1, 1], Uniform(3), "inside the prior's bounds"),
        (torch.zeros(2, 12, 3), [1] * 12, Uniform(3), "at most 10 weights above 0.*got 12"),
        (torch.zeros(2, 2, 3), [1, 1], Empirical(torch.zeros(1, 3)), "got Empirical"),
        (torch.zeros(2, 2, 4), [1, 1], Gaussian(3), "prior's 3 numbers"),
        (torch.zeros(2, 2, 2), [1, 1], Uniform(3), "prior's 3 numbers"),
        (torch.zeros(2, 2, 6), [1, 1], MIXED, "with sum 1"),
        (torch.eye(6)[None, 2:4], [1, -1], MIXED, "sum is not 0"),
    ],
)
def test_bad_input(points, weights, prior, message):
    with pytest.raises(ValueError, match=message):
        combine(points, weights, prior)


def test_bad_input_of_each_operation():
    z, prior = torch.zeros(2, 3), Gaussian(3)
    with pytest.raises(ValueError, match="0 or more, got"):
        mean(z[None], [1, -1], prior)
    with pytest.raises(ValueError, match=r"a \(2, 3\).*and c \(2, 4\)"):
        analogy(z, z, torch.zeros(2, 4), prior)
    for epsilon, n in ((-0.1, 1), (math.nan, 1), (1, 0)):
        with pytest.raises(ValueError, match="epsilon of 0 or more and n of 1 or more"):
            vicinity(z, epsilon, prior, n)
    with pytest.raises(ValueError, match=r"4 numbers, got \(2, 3\)"):
        vicinity(z, 1, Gaussian(4))


def test_slerp_is_no_substitute_in_few_dimensions():
    """The control for the module's claim: on the plane, slerp leaves a Gaussian far behind."""
    a, b = samples(Gaussian(2), 2).unbind(1)
    assert max(p_values(slerp(a, b, 3)[:, 1], stats.norm().cdf)) < 1e-6
