import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, kstest

from latentkit.latent.typicality import penalty, project, rank_p, tangent, typicality
from latentkit.priors import Empirical, Gaussian, GaussianOneHot, Uniform


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("dim", "sigma"), [(1, 1.0), (16, 0.1), (100, 3.0)])
def test_gaussian_typicality_is_the_tail_of_chi_square(dim, sigma):
    z = (
        sigma
        * torch.randn(50, dim, generator=seeded()).double()
        * torch.linspace(0, 2, 50)[:, None]
    )
    expected = chi2.sf((z / sigma).square().sum(1), dim)
    torch.testing.assert_close(typicality(z, Gaussian(dim, sigma)), torch.from_numpy(expected))


def test_latents_of_the_prior_are_uniformly_typical_and_wider_ones_are_not():
    prior = Gaussian(32, 0.5)
    z = prior.sample(2000, generator=seeded())
    assert kstest(typicality(z, prior).numpy(), "uniform").pvalue > 1e-3
    assert kstest(typicality(1.1 * z, prior).numpy(), "uniform").pvalue < 1e-6
    assert typicality(torch.zeros(1, 32), prior).item() == 1


def test_uniform_typicality_is_to_be_inside():
    z = torch.tensor([[0.0, 1.0], [-1.0, 0.5], [0.0, 1.01], [-9.0, 0.0]])
    assert typicality(z, Uniform(2)).tolist() == [1, 1, 0, 0]


def test_a_mixed_prior_asks_for_both_parts():
    prior = GaussianOneHot(3, 2, sigma=0.1)
    normal = 0.1 * torch.randn(1, 3, generator=seeded())
    codes = torch.tensor([[0.0, 1.0], [0.75, 0.25], [0.5, 0.5], [0.9, 0.9], [1.5, -0.5]])
    found = typicality(torch.cat([normal.expand(5, 3), codes], dim=1), prior)
    p = chi2.sf((normal / 0.1).square().sum().item(), 3)
    expected = torch.tensor([1, 0.75, 0.5, 0, 0]) * p
    torch.testing.assert_close(found, expected.float())


def test_a_prior_of_deviation_zero_has_one_point():
    z = torch.tensor([[0.0, 1.0], [0.1, 1.0]])
    prior = GaussianOneHot(1, 1, sigma=0)
    assert typicality(z, prior).tolist() == [1, 0]
    assert project(z, prior).tolist() == [[0, 1], [0, 1]]
    assert penalty(z, prior).tolist() == [0, 0]


def test_the_penalty_is_free_inside_the_typical_radius_and_the_log_density_outside():
    prior, z = Gaussian(8, 2.0), torch.randn(6, 8, generator=seeded())
    near, far = 0.5 * z, 50 * z
    assert penalty(near, prior).eq(0).all()
    per_coordinate = -(prior.log_prob(far) - prior.log_prob(9 * far)) / 8
    torch.testing.assert_close(penalty(far, prior) - penalty(9 * far, prior), per_coordinate)
    assert penalty(9 * far, Uniform(8)).eq(0).all()
    code = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    assert penalty(code, GaussianOneHot(1, 2)).tolist() == [0, 0.5]


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=5))
@settings(deadline=None, max_examples=25)
def test_the_projection_is_the_nearest_point_of_the_simplex(code):
    prior = GaussianOneHot(1, len(code))
    z = torch.tensor([[7.0, *code]], dtype=torch.float64)
    found = project(z, prior)
    assert found[0, 0] == 7
    onto = found[0, 1:]
    assert onto.min() >= 0
    assert onto.sum().item() == pytest.approx(1)
    # A point of a convex set is the nearest if no corner lies on the near side of its plane.
    towards_corners = torch.eye(len(code), dtype=torch.float64) - onto
    assert (towards_corners @ (z[0, 1:] - onto)).max() < 1e-9
    torch.testing.assert_close(project(found, prior), found)


def test_the_projection_leaves_samples_of_the_prior_alone():
    for prior in (Gaussian(3), Uniform(3, -2, 1), GaussianOneHot(2, 3)):
        z = prior.sample(20, generator=seeded())
        assert torch.equal(project(z, prior), z)
    assert project(torch.tensor([[-3.0, 0.5]]), Uniform(2)).tolist() == [[-1, 0.5]]


def test_a_tangent_keeps_the_sum_of_the_classes():
    v = torch.randn(4, 5, generator=seeded())
    found = tangent(v, GaussianOneHot(2, 3))
    assert torch.equal(found[:, :2], v[:, :2])
    torch.testing.assert_close(found[:, 2:].sum(1), torch.zeros(4))
    torch.testing.assert_close(tangent(found, GaussianOneHot(2, 3)), found)
    assert torch.equal(tangent(v, Gaussian(5)), v)


def test_conformal_p_values_keep_their_level():
    scores = torch.rand(400, 100, generator=seeded()).exp()  # of any distribution
    p = torch.stack([rank_p(row[:1], row[1:])[0] for row in scores])
    for level in (0.05, 0.2, 0.5):
        share = (p <= level).float().mean().item()
        assert share == pytest.approx(level, abs=3 * (level * (1 - level) / 400) ** 0.5)
    assert rank_p(torch.tensor([9.0, 0.0]), torch.ones(3)).tolist() == [0.25, 1]
    assert rank_p(torch.ones(1), torch.ones(3)).tolist() == [1]  # ties are not unusual


@pytest.mark.parametrize("what", [typicality, penalty, project, tangent])
def test_bad_input(what):
    with pytest.raises(ValueError, match="got Empirical, whose typical latents are not known"):
        what(torch.zeros(1, 2), Empirical(torch.zeros(1, 2)))
    with pytest.raises(ValueError, match=r"latents \(N, 3\) of the prior, got \(1, 2\)"):
        what(torch.zeros(1, 2), Gaussian(3))
    with pytest.raises(ValueError, match="finite latents, got NaN"):
        typicality(torch.full((1, 3), torch.nan), Gaussian(3))


def test_no_reference():
    with pytest.raises(ValueError, match=r"got shape \(0,\)"):
        rank_p(torch.ones(2), torch.ones(0))
