import math

import pytest
import torch
from scipy.stats import gaussian_kde
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from latentkit.latent.samplers import Mixture, NoisyEmpirical, gmm
from latentkit.latent.two_stage import TwoStage, two_stage
from latentkit.priors import Empirical
from latentkit.protocols import Prior

MANY = 50_000
WEIGHTS = torch.tensor([0.2, 0.5, 0.3])
MEANS = torch.tensor([[-4.0, 0.0], [0.0, 3.0], [5.0, -1.0]])
ROOTS = torch.tensor([[[1.0, 0.0], [0.5, 0.4]], [[0.3, 0.0], [0.0, 2.0]], [[1.0, 0.0], [-0.7, 1]]])
COVARIANCES = ROOTS @ ROOTS.mT


def keyed(seed=0):
    return torch.Generator().manual_seed(seed)


def known():
    return Mixture(WEIGHTS, MEANS, COVARIANCES)


def peer():
    parts = MultivariateNormal(MEANS.double(), COVARIANCES.double())
    return MixtureSameFamily(Categorical(WEIGHTS.double()), parts)


def close(a, b, tolerance):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def bimodal(n=4000, seed=1):
    """Two narrow modes at -3 and 3 of the first coordinate, noise in the second."""
    z = torch.randn(n, 2, generator=keyed(seed)) * torch.tensor([0.3, 1.0])
    z[::2, 0] += 3
    z[1::2, 0] -= 3
    return z


SAMPLERS = {
    "gmm": lambda z, g: gmm(z, 2, generator=g),
    "empirical": lambda z, g: NoisyEmpirical(z),
    "two-stage": lambda z, g: two_stage(z, steps=5, generator=g),
}
each = pytest.mark.parametrize("fit", SAMPLERS.values(), ids=SAMPLERS)


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (2, 1, 2)])
def test_samples_look_like_the_latents_and_depend_on_the_generator_alone(fit, dtype, shape):
    z = torch.randn(40, *shape, generator=keyed(9)).to(dtype)
    before, kept = torch.get_rng_state(), z.clone()
    prior, twin = fit(z, keyed(1)), fit(z, keyed(1))
    first, again, other = (
        p.sample(30, generator=keyed(s)) for p, s in ((prior, 0), (twin, 0), (prior, 1))
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(z, kept)
    assert isinstance(prior, Prior)
    assert (first.shape, first.dtype) == ((30, *shape), dtype)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert prior.sample(0, generator=keyed()).shape == (0, *shape)
    assert first.isfinite().all()


@each
def test_a_fit_without_gradients_around_it_and_with_a_constant_coordinate(fit):
    z = torch.randn(40, 3, generator=keyed(9))
    z[:, 1] = 7
    with torch.no_grad():
        drawn = fit(z, keyed()).sample(200, generator=keyed())
    assert drawn.isfinite().all()
    assert not drawn.requires_grad
    assert (drawn[:, 1] - 7).abs().max() < 0.1


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda s: gmm(torch.randn(100, 2, generator=keyed()), 9, generator=keyed(s)),
        lambda s: two_stage(bimodal(100), steps=3, generator=keyed(s)),
    ],
)
def test_the_generator_of_the_fit_decides(make, seed):
    draws = [make(s).sample(5, generator=keyed()) for s in (seed, seed, seed + 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_density_of_a_known_mixture_is_torchs():
    z = peer().sample((200,))
    assert known().log_prob(z).dtype == torch.float64
    close(known().log_prob(z), peer().log_prob(z), 1e-6)
    far = torch.full((1, 2), 1e4).double()  # where a density, not its logarithm, is 0
    close(known().log_prob(far), peer().log_prob(far), 1e-6)
    assert known().log_prob(z.float()).dtype == torch.float32


def test_moments_of_a_known_mixture():
    z = known().sample(MANY, generator=keyed()).double()
    close(z.mean(0), peer().mean, 0.06)
    centred = MEANS - WEIGHTS @ MEANS
    between = (WEIGHTS[:, None] * centred).T @ centred
    within = (WEIGHTS[:, None, None] * COVARIANCES).sum(0)
    close(z.T.cov().float(), within + between, 0.04)
    nearest = torch.cdist(z.float(), MEANS).argmin(1).bincount() / MANY
    close(nearest, WEIGHTS, 0.05)


def test_a_component_of_no_weight_is_never_drawn():
    mixture = Mixture(torch.tensor([0.0, 1.0, 0.0]), MEANS, COVARIANCES * 1e-4)
    z = mixture.sample(1000, generator=keyed())
    assert (z - MEANS[1]).norm(dim=1).max() < 1
    assert mixture.log_prob(z).isfinite().all()


def test_gmm_finds_a_known_mixture_whatever_the_units():
    z = known().sample(5000, generator=keyed())
    unit = torch.tensor([1e-3, 1e3])
    plain, scaled = gmm(z, 3, generator=keyed()), gmm(z * unit, 3, generator=keyed())
    order = plain.means[:, 0].argsort()
    close(plain.means[order], MEANS, 0.15)
    close(plain.weights[order].float(), WEIGHTS, 0.03)
    close(plain.covariances[order].float(), COVARIANCES, 0.25)
    close(scaled.means, plain.means * unit, 1e-3)
    held = known().sample(500, generator=keyed(1))
    close(scaled.log_prob(held * unit), plain.log_prob(held), 1e-2)


def test_one_component_is_the_normal_of_greatest_likelihood():
    z = bimodal().double()
    found = gmm(z, 1, reg=1e-9, generator=keyed())
    close(found.means[0], z.mean(0), 1e-6)
    close(found.covariances[0], torch.cov(z.T, correction=0), 1e-3)


def test_on_clustered_data_a_mixture_beats_a_normal_on_held_out_latents():
    z, held = known().sample(2000, generator=keyed()), known().sample(2000, generator=keyed(1))
    single, mixed = (gmm(z, k, generator=keyed()).log_prob(held).mean() for k in (1, 3))
    assert mixed > single + 0.3
    noise, unseen = torch.randn(2, 2000, 2, generator=keyed())  # no clusters, nothing to gain
    single, mixed = (gmm(noise, k, generator=keyed()).log_prob(unseen).mean() for k in (1, 3))
    assert mixed < single + 0.01


def test_reg_bounds_the_variance():
    z = torch.tensor([[0.0], [0.0], [0.0], [1.0]]).double()
    found = gmm(z, 2, reg=0.01, generator=keyed())
    close(found.covariances.flatten(), (0.01 * z.var(0)).expand(2), 1e-6)


def test_bandwidth_0_gives_training_latents_only():
    z = torch.randn(50, 3, generator=keyed())
    drawn = NoisyEmpirical(z, 0).sample(500, generator=keyed())
    assert torch.equal(drawn, Empirical(z).sample(500, generator=keyed()))
    assert (drawn[:, None] == z).all(2).any(1).all()
    moved = NoisyEmpirical(z, 0.1).sample(500, generator=keyed())
    assert not (moved[:, None] == z).all(2).any()


@pytest.mark.parametrize("bandwidth", [0.2, 1.0])
def test_the_covariance_grows_by_the_squared_bandwidth(bandwidth):
    z = known().sample(2000, generator=keyed())
    drawn = NoisyEmpirical(z, bandwidth).sample(MANY, generator=keyed())
    close(drawn.mean(0), z.mean(0), 0.05)
    close(drawn.T.cov(), (1 + bandwidth**2) * z.T.cov(), 0.04)


def test_the_rule_of_scott_and_the_kernel_are_scipys():
    z = known().sample(300, generator=keyed())
    kde = gaussian_kde(z.double().numpy().T)
    assert NoisyEmpirical(z).bandwidth == pytest.approx(kde.factor)
    moved, seen = (NoisyEmpirical(z, b).sample(MANY, generator=keyed()) for b in (None, 0))
    close((moved - seen).T.cov().double(), torch.from_numpy(kde.covariance), 0.03)


def test_noise_stays_in_the_plane_of_the_latents():
    z = torch.randn(30, 1, generator=keyed()) * torch.tensor([[1.0, 2.0]])
    drawn = NoisyEmpirical(z).sample(100, generator=keyed())
    close(drawn[:, 1], 2 * drawn[:, 0], 1e-4)


def share_between_the_modes(z):
    return (z[:, 0].abs() < 1.5).double().mean().item()


def test_two_stage_recovers_a_normal():
    root = torch.tensor([[2.0, 0.0], [-1.5, 1.0]])
    z = torch.randn(5000, 2, generator=keyed()) @ root.T + torch.tensor([10.0, -3.0])
    drawn = two_stage(z, steps=500, generator=keyed()).sample(20_000, generator=keyed())
    close(drawn.mean(0), z.mean(0), 0.1)
    close(drawn.T.cov(), z.T.cov(), 0.15)


@pytest.mark.parametrize(
    ("settings", "share"),  # the short training is further from the modes
    [
        ({"steps": 600, "lr": 5e-3}, 0.85),
        pytest.param({"steps": 2000}, 0.75, marks=pytest.mark.slow),
    ],
)
def test_two_stage_parts_two_modes_better_than_a_normal(settings, share):
    """Better, not well: a mixture of two leaves nothing between them."""
    z = bimodal()
    fits = {
        "second": two_stage(z, **settings, batch=64, generator=keyed()),
        "mixture": gmm(z, 2, generator=keyed()),
        "normal": gmm(z, 1, generator=keyed()),
        "untrained": TwoStage(2, generator=keyed()),
    }
    drawn = {name: prior.sample(5000, generator=keyed()) for name, prior in fits.items()}
    between = {name: share_between_the_modes(x) for name, x in drawn.items()}
    assert between["normal"] > 0.3
    assert between["untrained"] > 0.3
    assert between["second"] < share * between["normal"]
    assert between["mixture"] < 0.001
    assert 0.4 < (drawn["second"][:, 0] > 0).double().mean() < 0.6


def test_the_bound_of_a_second_stage_that_ignores_u_is_by_hand():
    model = TwoStage(2, hidden=4, generator=keyed())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    x = torch.tensor([[1.0, -2.0]])
    assert model.loss(x, torch.zeros(1, 2)).item() == pytest.approx(2.5 + math.log(2 * math.pi))


@each
@pytest.mark.parametrize(
    ("z", "message"),
    [
        (torch.zeros(3), r"latents \(N, \*Z\), two or more, got shape \(3,\)"),
        (torch.zeros(1, 3), r"two or more, got shape \(1, 3\)"),
        ([torch.zeros(3), torch.zeros(2)], "expected a tensor of latents .* got a list"),
        (torch.zeros(4, 0), "at least one latent"),
        (torch.zeros(4, 2).long(), "floating dtype, got torch.int64"),
        (torch.full((3, 2), torch.nan), "NaN or infinity in 3 of 3"),
    ],
)
def test_bad_latents(fit, z, message):
    with pytest.raises(ValueError, match=message):
        fit(z, keyed())


Z = torch.randn(4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gmm(Z, 5), "1 <= components <= 4 for 4 latents .* got 5 and"),
        (lambda: gmm(Z, 0), "got 0 and"),
        (lambda: gmm(Z, 2, reg=0), "reg above 0, got 2 and 0"),
        (lambda: NoisyEmpirical(Z, -0.1), "bandwidth of 0 or more, got -0.1"),
        (lambda: NoisyEmpirical(Z, math.nan), "got nan"),
        (lambda: two_stage(Z, steps=0), "got 0, 128 and 0.002"),
        (lambda: two_stage(Z, batch=0), "got 6000, 0 and 0.002"),
        (lambda: two_stage(Z, lr=0), "got 6000, 128 and 0"),
        (lambda: known().log_prob(torch.zeros(5, 3)), r"\(N, 2\), got \(5, 3\)"),
        (lambda: known().log_prob(torch.zeros(2)), r"\(N, 2\), got \(2,\)"),
        (lambda: Mixture(WEIGHTS[:2], MEANS, COVARIANCES), r"weights \(3,\)"),
        (lambda: Mixture(WEIGHTS, MEANS, COVARIANCES[:, :1]), r"covariances \(3, 2, 2\)"),
        (lambda: Mixture(WEIGHTS * 2, MEANS, COVARIANCES), "with sum 1"),
        (lambda: Mixture(WEIGHTS, MEANS, -COVARIANCES), "positive definite"),
        (lambda: Mixture(WEIGHTS, MEANS[0], COVARIANCES), r"means of shape"),
    ],
)
def test_bad_settings(call, message):
    with pytest.raises(ValueError, match=message):
        call()
