import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from latentkit.latent.perturb import along, gaussian, jitter
from latentkit.latent.training_set import TrainLatents
from latentkit.priors import Empirical, Gaussian, GaussianOneHot, Uniform
from tests.latent.test_augment import draw, labelled, training


def of_prior(prior, n=20_000):
    """One class of latents that follow the prior."""
    return training(prior.sample(n, generator=draw(0)), torch.zeros(n).long())


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("prior", [Gaussian(3, 0.7), Uniform(3), Uniform(3, 0, 5)])
def test_jitter_follows_the_prior_in_every_coordinate(prior, strength):
    made = jitter(of_prior(prior), 20_000, prior, strength, draw(1)).z
    for column in made.double().T:
        cdf = lambda x: prior.cdf(torch.as_tensor(x)[:, None])[:, 0].numpy()  # noqa: E731
        assert stats.kstest(column.numpy(), cdf).pvalue > 1e-3


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_plain_noise_does_not_follow_it(strength):
    """The control of the test above."""
    train = of_prior(Gaussian(1))
    noisy = train.z + strength * torch.randn(train.z.shape, generator=draw(1))
    assert stats.kstest(noisy[:, 0].numpy(), stats.norm.cdf).pvalue < 1e-6


@given(st.floats(0.05, 4), st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_jitter_by_hand(strength, seed):
    train = training(*labelled(seed))
    made = jitter(train, 4, Gaussian(3), strength, draw(seed))
    noise = (made.z * (1 + strength**2) ** 0.5 - train.z[torch.cat(made.parents) // 2]) / strength
    assert noise.abs().max() < 7
    boxed = TrainLatents(train.z.sigmoid(), train.labels, train.rows, train.rows + 1)
    made = jitter(boxed, 4, Uniform(3, 0, 1), strength, draw(seed))
    assert ((made.z >= 0) & (made.z <= 1)).all()


def test_little_jitter_stays_near():
    for prior in (Gaussian(3), Uniform(3)):
        train = of_prior(prior, 500)
        made = jitter(train, 50, prior, 1e-2, draw(0))
        assert (made.z - train.z[torch.cat(made.parents) // 2]).abs().max() < 0.06


def test_jitter_leaves_classes_as_they_are():
    prior = GaussianOneHot(2, 3)
    train = of_prior(prior, 200)
    made = jitter(train, 60, prior, 0.5, draw(0))
    parents = train.z[torch.cat(made.parents) // 2]
    assert torch.equal(made.z[:, 2:], parents[:, 2:])
    assert not (made.z[:, :2] == parents[:, :2]).any()


def test_gaussian_draws_have_the_mean_and_covariance_of_their_class():
    n, generator = 4000, draw(0)
    labels = torch.arange(n) % 2
    mix = torch.tensor([[2.0, 0.0, 0.0], [1.5, 0.5, 0.0], [0.0, 0.0, 0.1]])
    z = torch.randn(n, 3, generator=generator) @ mix.T
    z[labels == 1] = 5 - z[labels == 1] / 2
    made = gaussian(training(z, labels), 20_000, draw(1))
    for label in (0, 1):
        new, old = made.z[made.labels == label], z[labels == label]
        assert torch.allclose(new.mean(0), old.mean(0), atol=0.06)
        assert torch.allclose(new.T.cov(), old.T.cov(), atol=0.12)
    assert made.parents[0].tolist() == list(range(0, 2 * n, 4))
    assert torch.equal(made.parents[-1], 2 * (labels == 1).nonzero()[:, 0])


def test_gaussian_of_fewer_members_than_coordinates_leaves_their_plane():
    z = torch.randn(4, 20, generator=draw(0))
    made = gaussian(training(z, torch.zeros(4).long()), 50, draw(0)).z
    centred = torch.cat([z - z.mean(0), made - z.mean(0)])
    assert torch.linalg.matrix_rank(centred[:4]) == 3
    assert torch.linalg.matrix_rank(centred) == 20
    same = gaussian(training(z[:1].expand(3, -1), torch.zeros(3).long()), 2, draw(0)).z
    assert torch.allclose(same, z[:1].expand(2, -1), atol=1e-5)


def test_along_moves_along_the_direction_alone_within_the_range():
    train, direction = training(*labelled()), torch.tensor([0.6, 0.0, 0.8])
    made = along(train, 400, direction, (-0.5, 2.0), draw(0))
    moved = made.z - train.z[torch.cat(made.parents) // 2]
    far = moved @ direction
    assert torch.allclose(moved, far[:, None] * direction, atol=1e-6)
    assert stats.kstest(far.numpy(), stats.uniform(-0.5, 2.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: gaussian(t, 0), ValueError, "per_class >= 1"),
        (lambda t: jitter(t, 2, Gaussian(4)), ValueError, "latents .*prior.s 4 numbers"),
        (lambda t: jitter(t, 2, Gaussian(3), 0), ValueError, "strength above 0, got 0"),
        (lambda t: jitter(t, 2, Gaussian(3), float("nan")), ValueError, "strength above 0"),
        (lambda t: jitter(t, 2, Uniform(3, 0, 0.1)), ValueError, r"\[0, 0.1\]"),
        (lambda t: jitter(t, 2, Empirical(t.z)), ValueError, "a Gaussian, a Uniform or.*Empirical"),
        (lambda t: along(t, 2, torch.ones(4)), ValueError, r"shape \(3,\), got \(4,\)"),
        (lambda t: along(t, 2, torch.zeros(3)), ValueError, "direction that is not zero"),
        (lambda t: along(t, 2, torch.full((3,), torch.nan)), ValueError, "finite direction"),
        (lambda t: along(t, 2, torch.ones(3), (1, 1)), ValueError, "low < high, got"),
        (lambda t: along(t, 2, torch.ones(3), (0, float("inf"))), ValueError, "finite strengths"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(training(*labelled()))


def test_one_member_has_no_spread():
    z, labels = labelled()
    with pytest.raises(ValueError, match="at least 2 latents of every class"):
        gaussian(training(z[:3], labels[:3]), 2)
    assert jitter(training(z[:3], labels[:3]), 2, Gaussian(3)).z.shape == (6, 3)
