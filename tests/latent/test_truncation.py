import pytest
import torch
from scipy.stats import kstest, truncnorm

from latentkit.latent.truncation import truncated
from latentkit.priors import Empirical, Gaussian, GaussianOneHot, Uniform


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("limit", [0.1, 0.7, 2.0, 8.0])
def test_the_coordinates_have_the_truncated_normal_distribution(limit):
    z = truncated(Gaussian(4, sigma=3.0), 20_000, limit, seeded())
    assert z.shape == (20_000, 4)
    assert z.abs().max() <= 3 * limit * (1 + 1e-6)
    expected = truncnorm(-limit, limit)
    for column in (z / 3).T:
        assert kstest(column.numpy(), expected.cdf).pvalue > 1e-3
    clamped = torch.randn(20_000, generator=seeded()).clamp(-limit, limit)
    if limit < 4:  # the control: cutting off is not drawing again
        assert kstest(clamped.numpy(), expected.cdf).pvalue < 1e-3


def test_like_drawing_again_until_all_are_inside():
    slow = torch.randn(200_000, generator=seeded())
    slow = slow[slow.abs() <= 0.9]
    fast = truncated(Gaussian(1), len(slow), 0.9, seeded(1)).flatten()
    torch.testing.assert_close(fast.std(), slow.std(), atol=5e-3, rtol=0)


def test_classes_stay_as_they_are():
    prior = GaussianOneHot(3, 4, sigma=0.5)
    z = truncated(prior, 400, 1.0, seeded())
    normal, code = prior.split(z)
    assert normal.abs().max() <= 0.5
    assert code.sum(1).eq(1).all()
    assert code.sum(0).min() > 60


def test_the_generator_alone_decides():
    state = torch.random.get_rng_state()
    a, b = (truncated(Gaussian(3), 5, 1.0, seeded(7)) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(state, torch.random.get_rng_state())
    assert truncated(Gaussian(3), 0, 1.0).shape == (0, 3)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_bad_limits(limit):
    with pytest.raises(ValueError, match="a limit above 0"):
        truncated(Gaussian(2), 3, limit)


@pytest.mark.parametrize("prior", [Uniform(2), Empirical(torch.zeros(1, 2))])
def test_priors_without_tails_are_named(prior):
    with pytest.raises(ValueError, match=f"got {type(prior).__name__}"):
        truncated(prior, 3, 1.0)
