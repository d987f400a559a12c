import math

import pytest
import torch
from torch.distributions import Independent, Normal
from torch.distributions import Uniform as TorchUniform

from latentkit.priors import Empirical, Gaussian, GaussianOneHot, Uniform
from latentkit.protocols import Prior

LATENTS = torch.arange(12.0).reshape(4, 3)
PRIORS = {
    "gaussian": Gaussian(3, sigma=2.0),
    "uniform": Uniform(3, -1.0, 4.0),
    "one-hot": GaussianOneHot(2, 5, sigma=0.3),
    "empirical": Empirical(LATENTS),
}
each = pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS.keys())
MANY = 50_000


def keyed(seed=0):
    return torch.Generator().manual_seed(seed)


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@each
def test_sampling_keeps_the_contract(prior):
    assert isinstance(prior, Prior)
    before = torch.get_rng_state()
    first, again, other = (prior.sample(64, generator=keyed(s)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float32
    assert first.shape == (64, getattr(prior, "dim", 3))
    assert prior.sample(0, generator=keyed()).shape == (0, first.shape[1])


@each
def test_without_a_generator_the_global_seed_decides(prior):
    draws = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        draws.append(prior.sample(20))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_gaussian_moments():
    z = Gaussian(3, sigma=2.0).sample(MANY, generator=keyed())
    close(z.mean(0), torch.zeros(3), 0.03)
    close(z.T.cov(), 4 * torch.eye(3), 0.06)
    assert ((z / 2).pow(4).mean() - 3).abs() < 0.1  # normal, not just any with this variance


def test_uniform_moments():
    z = Uniform(3, -1.0, 4.0).sample(MANY, generator=keyed())
    close(z.mean(0), torch.full((3,), 1.5), 0.03)
    close(z.T.cov(), 25 / 12 * torch.eye(3), 0.04)
    assert z.min() >= -1
    assert z.max() <= 4
    assert z.max() - z.min() > 4.99


@pytest.mark.parametrize(
    ("prior", "peer"),
    [
        (Gaussian(3, sigma=0.4), Independent(Normal(torch.zeros(3), 0.4), 1)),
        (Uniform(3, -1.0, 4.0), Independent(TorchUniform(-torch.ones(3), 4.0), 1)),
    ],
)
def test_density_and_distribution_are_torchs(prior, peer):
    z = prior.sample(50, generator=keyed())
    close(prior.log_prob(z), peer.log_prob(z))
    assert prior.log_prob(z).shape == (50,)
    close(prior.cdf(z), peer.base_dist.cdf(z))
    p = torch.linspace(0.01, 0.99, 30).reshape(10, 3)
    close(prior.icdf(p), peer.base_dist.icdf(p))


@pytest.mark.parametrize("prior", [Gaussian(3, sigma=0.4), Uniform(3, -1.0, 4.0)])
def test_cdf_and_icdf_undo_each_other_and_make_uniforms(prior):
    z = prior.sample(MANY, generator=keyed()).double()
    close(prior.icdf(prior.cdf(z)), z, 1e-9)
    p = prior.cdf(z)
    close(p.mean(0), torch.full((3,), 0.5).double(), 0.01)
    close(p.var(0), torch.full((3,), 1 / 12).double(), 0.01)


def test_outside_a_uniform():
    prior = Uniform(2, 0.0, 0.5)
    z = torch.tensor([[0.1, 0.2], [0.1, 0.6], [-0.1, 0.2], [0.0, 0.5]])
    wanted = 2 * math.log(2)
    assert prior.log_prob(z).tolist() == pytest.approx([wanted, -math.inf, -math.inf, wanted])
    assert prior.cdf(z)[1:3].flatten().tolist() == pytest.approx([0.2, 1.0, 0.0, 0.4])


def test_double_latents_give_double_results():
    for prior in (Gaussian(3), Uniform(3)):
        z = torch.zeros(2, 3, dtype=torch.float64)
        assert prior.log_prob(z).dtype == prior.cdf(z).dtype == torch.float64


def test_one_hot_moments():
    prior = GaussianOneHot(2, 5, sigma=0.3)
    z_n, z_c = prior.split(prior.sample(MANY, generator=keyed()))
    close(z_n.T.cov(), 0.09 * torch.eye(2), 0.002)
    assert z_c.shape == (MANY, 5)
    assert set(z_c.unique().tolist()) == {0.0, 1.0}
    assert z_c.sum(1).eq(1).all()
    close(z_c.mean(0), torch.full((5,), 0.2), 0.01)
    assert (z_n.T @ z_c / MANY).abs().max() < 0.005  # the parts know nothing of each other


def test_samples_of_a_class():
    prior, label = GaussianOneHot(2, 5, sigma=0.3), torch.tensor([4, 0, 2])
    z = prior.sample_class(label, generator=keyed())
    assert z.shape == (3, 7)
    z_n, z_c = prior.split(z)
    assert z_c.tolist() == [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert torch.equal(torch.cat([z_n, z_c], 1), z)
    assert torch.equal(z, prior.sample_class(label, generator=keyed()))
    assert not torch.equal(z, prior.sample_class(label, generator=keyed(1)))


def test_empirical_gives_what_was_seen_all_of_it_equally_often():
    z = Empirical(LATENTS).sample(8000, generator=keyed())
    found, counts = z.unique(dim=0, return_counts=True)
    assert torch.equal(found, LATENTS)
    assert (counts - 2000).abs().max() < 200
    maps = torch.rand(3, 2, 4, 4)
    assert Empirical(maps).sample(5, generator=keyed()).shape == (5, 2, 4, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(2, 1.0, 1.0), r"low < high, got low=1.0 and high=1.0"),
        (lambda: Empirical(torch.empty(0, 3)), "at least one latent"),
        (lambda: Gaussian(2, sigma=0.0), "sigma above 0, got 0.0"),
        (
            lambda: GaussianOneHot(2, 3, sigma=-1.0),
            "sigma of 0 or more and a class or more, got -1.0 and 3",
        ),
    ],
)
def test_priors_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_class_that_does_not_exist():
    with pytest.raises(RuntimeError, match="Class values must be smaller"):
        GaussianOneHot(2, 5).sample_class(torch.tensor([1, 5]))
