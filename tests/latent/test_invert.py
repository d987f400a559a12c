from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from latentkit.latent.invert import Terms, invert, nearest
from latentkit.latent.typicality import penalty
from latentkit.metrics.reconstruction import mse, psnr
from latentkit.priors import Empirical, Gaussian, GaussianOneHot, Uniform

DIM, SIDE = 4, 8


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def toy():
    """A smooth nonlinear generator, and an encoder that is only roughly right."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(DIM, 32), nn.Tanh(), nn.Linear(32, SIDE * SIDE))
    decode = lambda z: net(z).sigmoid().view(-1, 1, SIDE, SIDE)  # noqa: E731
    z = torch.randn(500, DIM, generator=seeded(9))
    with torch.no_grad():
        flat = decode(z).flatten(1)
    matrix = torch.linalg.lstsq(flat - flat.mean(0), z).solution
    encode = lambda x: (x.flatten(1) - flat.mean(0)) @ matrix  # noqa: E731
    return SimpleNamespace(net=net, decode=decode, encode=encode, prior=Gaussian(DIM))


def linear(seed, dtype=torch.float32):
    """A linear generator of 12 pixels, and its matrix."""
    basis = torch.randn(12, 3, generator=seeded(seed)).to(dtype)
    return basis, lambda z: (z @ basis.T).view(-1, 1, 3, 4)


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=3)
def test_of_a_linear_generator_it_is_least_squares(seed):
    basis, decode = linear(seed)
    x = torch.rand(2, 1, 3, 4, generator=seeded(seed + 1))
    found = invert(decode, x, torch.zeros(2, 3), steps=600)
    expected = torch.linalg.lstsq(basis, x.flatten(1).T).solution.T
    torch.testing.assert_close(found.z, expected, atol=5e-3, rtol=0)
    assert (found.mse <= mse(decode(expected), x) + 1e-5).all()


def test_absolute_differences_forget_an_outlier_that_squares_follow():
    _, decode = linear(3)
    z = torch.randn(1, 3, generator=seeded())
    x = decode(z).clone()
    x[0, 0, 0, 0] += 5
    start = torch.zeros(1, 3)
    median = invert(decode, x, start, Terms(pixels="l1"), steps=800, lr=0.05).z
    mean = invert(decode, x, start, Terms(pixels="l2"), steps=800, lr=0.05).z
    torch.testing.assert_close(median, z, atol=0.05, rtol=0)
    assert (mean - z).norm() > 0.3


@torch.no_grad()
def test_images_of_the_generator_are_found_again(toy):
    z = toy.prior.sample(16, generator=seeded(1))
    x = toy.decode(z)
    found = invert(toy.decode, x, None, Terms(toy.prior), samples=16, generator=seeded())
    assert found.psnr.min() > 30
    torch.testing.assert_close(found.image, toy.decode(found.z))
    torch.testing.assert_close(found.psnr, psnr(found.image, x))
    torch.testing.assert_close(found.mse, mse(found.image, x))
    assert found.typicality.min() > 1e-4
    # The control: the start alone is not enough.
    assert psnr(toy.decode(found.start), x).median() < 30


def test_the_history_never_rises_and_ends_at_the_loss(toy):
    x = torch.rand(5, 1, SIDE, SIDE, generator=seeded())
    found = invert(toy.decode, x, None, Terms(toy.prior), steps=40, lr=2.0, generator=seeded())
    assert found.history.shape == (41, 5)
    assert (found.history.diff(dim=0) <= 0).all()
    over = (penalty(found.z, toy.prior) - penalty(found.start, toy.prior)).clamp(min=0)
    torch.testing.assert_close(found.history[-1], found.mse + 0.01 * over)
    torch.testing.assert_close(found.history[0], mse(toy.decode(found.start), x).detach())


@given(st.integers(0, 1000), st.floats(0.01, 5), st.sampled_from(["l1", "l2"]))
@settings(deadline=None, max_examples=15)
def test_refining_an_encoder_never_loses_to_it(toy, seed, lr, pixels):
    x = torch.rand(4, 1, SIDE, SIDE, generator=seeded(seed))
    terms = Terms(toy.prior, pixels=pixels)
    found = invert(toy.decode, x, toy.encode, terms, steps=10, lr=lr)
    assert torch.equal(found.start, toy.encode(x))
    power = 1 if pixels == "l1" else 2
    error = lambda z: (toy.decode(z) - x).abs().pow(power).flatten(1).mean(1)  # noqa: E731
    assert (error(found.z) <= error(found.start) + 1e-7).all()


def test_each_image_is_inverted_by_itself(toy):
    x = torch.rand(3, 1, SIDE, SIDE, generator=seeded())
    together = invert(toy.decode, x, toy.encode, Terms(toy.prior), steps=30)
    alone = invert(toy.decode, x[1:2], toy.encode, Terms(toy.prior), steps=30)
    torch.testing.assert_close(together.z[1:2], alone.z, atol=1e-4, rtol=0)


def test_no_steps_give_the_start(toy):
    x = torch.rand(3, 1, SIDE, SIDE, generator=seeded())
    found = invert(toy.decode, x, toy.encode, steps=0)
    assert torch.equal(found.z, toy.encode(x))
    assert found.typicality is None
    assert found.feature is None
    assert len(found.history) == 1


def test_the_start_is_the_nearest_sample(toy):
    x = torch.rand(3, 1, SIDE, SIDE, generator=seeded())
    start = nearest(toy.decode, x, toy.prior, 600, seeded(2))
    z = toy.prior.sample(600, generator=seeded(2))
    errors = torch.stack([mse(toy.decode(z), one.expand(600, 1, SIDE, SIDE)) for one in x])
    assert torch.equal(start, z[errors.argmin(1)])


def test_the_feature_term_is_what_its_docstring_says(toy):
    x = torch.rand(2, 1, SIDE, SIDE, generator=seeded())
    features = lambda images: images.mean(-1)  # noqa: E731
    with_it = Terms(features=features, feature_weight=50)
    found = invert(toy.decode, x, toy.encode, with_it, steps=100)
    plain = invert(toy.decode, x, toy.encode, steps=100)
    gap = lambda image: (  # noqa: E731
        (features(image) - features(x)).square().flatten(1).sum(1)
        / features(x).square().flatten(1).sum(1)
    )
    torch.testing.assert_close(found.feature, gap(found.image))
    assert (found.feature < gap(plain.image)).all()
    assert (found.mse > plain.mse).all()  # what it costs
    torch.testing.assert_close(found.history[-1], found.mse + 50 * found.feature)


@torch.no_grad()
def test_the_prior_term_keeps_latents_typical(toy):
    x = toy.decode(4 * torch.randn(8, DIM, generator=seeded(3)))
    free, kept = (
        invert(toy.decode, x, None, Terms(toy.prior, prior_weight=w), generator=seeded())
        for w in (0, 10)
    )
    assert free.typicality.median() < 0.01
    allowed = kept.start.square().mean(1).sqrt().clamp(min=1)
    assert (kept.z.square().mean(1).sqrt() < 1.1 * allowed).all()
    assert (free.z.square().mean(1).sqrt() > 1.1 * allowed).float().mean() > 0.5
    assert (kept.mse >= free.mse - 1e-4).all()


def test_a_uniform_prior_is_not_left(toy):
    x = toy.decode(3 * torch.ones(2, DIM)).detach()
    found = invert(toy.decode, x, None, Terms(Uniform(DIM)), generator=seeded())
    assert found.z.abs().max() <= 1
    assert found.typicality.tolist() == [1, 1]


@torch.no_grad()
def test_classes_stay_on_the_simplex_and_the_prior_term_keeps_them_whole():
    prior = GaussianOneHot(2, 3, sigma=0.3)
    patterns = torch.rand(3, 12, generator=seeded(4))
    mixing = torch.randn(2, 12, generator=seeded(5))
    decode = lambda z: (z[:, 2:] @ patterns + 0.3 * z[:, :2] @ mixing).view(-1, 1, 3, 4)  # noqa: E731
    z = prior.sample(20, generator=seeded())
    wrong = torch.cat([z[:, :2], z[:, 2:].roll(1, 1)], dim=1)  # start from another class
    found = invert(decode, decode(z), wrong, Terms(prior, prior_weight=0), steps=400)
    code = found.z[:, 2:]
    torch.testing.assert_close(code.sum(1), torch.ones(20))
    assert code.min() >= 0
    assert torch.equal(code.argmax(1), z[:, 2:].argmax(1))
    assert found.psnr.min() > 30
    blend = decode(torch.tensor([[0.0, 0.0, 0.6, 0.4, 0.0]]))
    start = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]])
    free, whole = (
        invert(decode, blend, start, Terms(prior, prior_weight=w), steps=400).z[0, 2:].max()
        for w in (0, 1)
    )
    assert free < 0.7
    assert whole > 0.99


@torch.no_grad()
def test_images_of_another_domain_are_flagged_and_own_ones_seldom(toy):
    terms = Terms(toy.prior)
    settings = {"steps": 150, "generator": seeded()}
    own = [toy.decode(toy.prior.sample(n, generator=seeded(n))) for n in (100, 101)]
    own = [(x + 0.02 * torch.randn(x.shape, generator=seeded(5))).clamp(0, 1) for x in own]
    reference, held_out = (invert(toy.decode, x, None, terms, **settings) for x in own)
    noise = torch.rand(20, 1, SIDE, SIDE, generator=seeded())
    other = invert(toy.decode, noise, None, terms, **settings)
    assert other.outside(reference).all()
    assert held_out.outside(reference).float().mean() < 0.12  # 5 % and the draw of 100
    assert held_out.outside(reference, alpha=0.5).float().mean() > 0.1


@torch.no_grad()
def test_without_a_reference_an_atypical_latent_is_flagged(toy):
    z = torch.cat([torch.zeros(1, DIM), 9 * torch.ones(1, DIM)])
    found = invert(toy.decode, toy.decode(z), z, Terms(toy.prior), steps=0)
    assert found.outside().tolist() == [False, True]


def test_the_model_and_the_random_state_are_left_alone(toy):
    x = torch.rand(2, 1, SIDE, SIDE, generator=seeded())
    state = torch.random.get_rng_state()
    a, b = (
        invert(toy.decode, x, None, Terms(toy.prior), steps=3, generator=seeded(1))
        for _ in range(2)
    )
    assert torch.equal(a.z, b.z)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(parameter.grad is None for parameter in toy.net.parameters())
    assert not a.z.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(invert(toy.decode, x, a.start, Terms(toy.prior), steps=3).z, a.z)


def test_the_type_is_kept():
    _, decode = linear(0, torch.float64)
    x = torch.rand(1, 1, 3, 4, dtype=torch.float64)
    found = invert(decode, x, None, Terms(Gaussian(3)), steps=3, generator=seeded())
    assert found.z.dtype == found.image.dtype == found.history.dtype == torch.float64


X, Z = torch.zeros(2, 1, SIDE, SIDE), torch.zeros(2, DIM)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X / 0}, "finite floating images"),
        ({"x": X.long()}, "finite floating images"),
        ({"x": X[:0]}, "at least one"),
        ({"x": torch.zeros(2, 3)}, r"got torch.float32 of shape \(2, 3\)"),
        ({"x": torch.zeros(2, 3, SIDE, SIDE)}, r"images \(2, 3, 8, 8\), got \(2, 1, 8, 8\)"),
        ({"start": Z[:1]}, "expected 2 finite floating latents"),
        ({"start": Z / 0}, "expected 2 finite floating latents"),
        ({"start": lambda x: x.flatten(1).long()}, "floating latents to start from"),
        ({"start": None}, "nothing to start from"),
        ({"start": None, "terms": Terms(Gaussian(DIM)), "samples": 0}, "1 or more samples"),
        ({"terms": Terms(Gaussian(3))}, r"prior.s 3 numbers"),
        ({"start": Z[:, 1:]}, r"decode refused the latents \(2, 3\) to start from"),
        ({"steps": -1}, "got -1 and 0.1"),
        ({"lr": 0.0}, "lr above 0, got 300 and 0.0"),
        ({"lr": float("nan")}, "lr above 0"),
        ({"decode": lambda z: X + z.sum() * torch.nan}, "finite images at the start"),
        ({"decode": lambda z: X}, "carries no gradient"),
    ],
)
def test_bad_input(toy, change, message):
    arguments = {"decode": toy.decode, "x": X, "start": Z, **change}
    with pytest.raises(ValueError, match=message):
        invert(**arguments)


def test_bad_terms_and_references(toy):
    with pytest.raises(ValueError, match="l1 or l2, got 'l3'"):
        Terms(pixels="l3")
    with pytest.raises(ValueError, match=r"got -1 and 0\.1"):
        Terms(prior_weight=-1)
    found = invert(toy.decode, X, Z, steps=0)
    with pytest.raises(ValueError, match="expected a reference"):
        found.outside()
    with pytest.raises(ValueError, match=r"19 images or more for alpha=0\.05, got 2"):
        found.outside(found)
    with pytest.raises(ValueError, match=r"alpha in \(0, 1\), got 1"):
        found.outside(found, 1)
    known = invert(toy.decode, X, Z, Terms(toy.prior), steps=0)
    with pytest.raises(ValueError, match=r"39 images or more for alpha=0\.05, got 2"):
        known.outside(known)


def test_a_prior_of_unknown_form_is_drawn_from_and_not_judged(toy):
    prior = Empirical(torch.randn(50, DIM, generator=seeded()))
    found = invert(toy.decode, X, None, Terms(prior), steps=2, generator=seeded())
    assert found.typicality is None
