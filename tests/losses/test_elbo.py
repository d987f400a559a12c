import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from latentkit.losses.elbo import (
    bernoulli_nll,
    free_bits,
    gaussian_nll,
    kl_to_standard_normal,
    reparameterise,
)


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(3, 1, 5, 4), (2, 2, 7), (2, 1, 2, 3, 2)])
def test_bernoulli_is_torchs_summed_over_all_pixels(shape):
    logits, x = 3 * torch.randn(shape), torch.rand(shape).round()
    wanted = -Bernoulli(logits=logits).log_prob(x).reshape(shape[0], -1).sum(1)
    assert wanted.shape == (shape[0],)
    close(bernoulli_nll(logits, x), wanted)


def test_bernoulli_of_grey_values_is_the_cross_entropy():
    logits, x = torch.randn(2, 1, 3, 3, dtype=torch.float64), torch.rand(2, 1, 3, 3).double()
    p = 1 / (1 + (-logits).exp())
    close(bernoulli_nll(logits, x), -(x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2, 3)))


def test_bernoulli_does_not_overflow():
    x = torch.tensor([[0.0, 1.0]])
    assert bernoulli_nll(torch.tensor([[-1e4, 1e4]]), x).item() == 0
    assert bernoulli_nll(torch.tensor([[1e4, 1e4]]), x).item() == pytest.approx(1e4)


@pytest.mark.parametrize("log_scale", [-2.0, 0.0, 0.7])
def test_gaussian_is_torchs_summed_over_all_pixels(log_scale):
    mean, x = torch.rand(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    wanted = -Normal(mean, math.exp(log_scale)).log_prob(x).sum((1, 2, 3))
    close(gaussian_nll(mean, x, torch.tensor(log_scale)), wanted)


def test_the_best_gaussian_scale_is_the_root_mean_square_error():
    mean, x = torch.rand(8, 1, 4, 4), torch.rand(8, 1, 4, 4)
    best = (x - mean).square().mean().sqrt().log().requires_grad_()
    gaussian_nll(mean, x, best).mean().backward()
    assert abs(best.grad) < 1e-4
    off = (best.detach() + 0.1).requires_grad_()
    gaussian_nll(mean, x, off).mean().backward()
    assert off.grad > 1


def test_kl_is_torchs():
    mean, log_var = 2 * torch.randn(6, 4), torch.randn(6, 4)
    posterior = Normal(mean, (0.5 * log_var).exp())
    close(kl_to_standard_normal(mean, log_var), kl_divergence(posterior, Normal(0.0, 1.0)))
    assert kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)).eq(0).all()


def standard(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_bound_is_below_the_likelihood_and_tight_for_the_true_posterior():
    """z ~ N(0, 1), x | z ~ N(z, s): then x ~ N(0, 1 + s^2) and z | x is normal, in closed form."""
    s, x = 0.8, torch.tensor([[[1.3]]], dtype=torch.float64)
    evidence = Normal(0.0, math.sqrt(1 + s**2)).log_prob(x).item()
    variance = s**2 / (1 + s**2)

    def bound(mean, variance):
        mean, log_var = torch.tensor([[mean]]).double(), torch.tensor([[math.log(variance)]])
        many = (v.double().expand(200_000, 1) for v in (mean, log_var))
        z = reparameterise(*many, standard(200_000, 1).double())[..., None]
        nll = gaussian_nll(z, x.expand_as(z), torch.tensor(math.log(s)).double()).mean()
        return -(nll + kl_to_standard_normal(mean, log_var).sum()).item()

    assert bound(x.item() / (1 + s**2), variance) == pytest.approx(evidence, abs=0.01)
    assert bound(x.item() / (1 + s**2), 3 * variance) < evidence - 0.1
    assert bound(0.0, 1.0) < evidence - 0.1


KL = torch.tensor([[0.1, 2.0, 0.0], [0.3, 4.0, 0.0]])


def test_no_free_bits_is_the_plain_kl():
    assert free_bits(KL, 0.0).item() == pytest.approx(KL.sum(1).mean().item())


def test_free_bits_floor_the_batch_mean_of_each_coordinate():
    assert free_bits(KL, 0.5).item() == pytest.approx(0.5 + 3.0 + 0.5)
    assert free_bits(KL, 0.15).item() == pytest.approx(0.2 + 3.0 + 0.15)  # not max(0.1, 0.15)
    assert free_bits(KL, 9.0).item() == pytest.approx(27.0)


def test_free_bits_give_no_gradient_below_the_floor():
    kl = KL.clone().requires_grad_()
    free_bits(kl, 0.5).backward()
    assert kl.grad.tolist() == [[0, 0.5, 0], [0, 0.5, 0]]


def test_reparameterised_draws_have_the_wanted_moments():
    mean, log_var = torch.tensor([-1.0, 0.0, 3.0]), torch.tensor([-2.0, 0.0, 1.5])
    n = 100_000
    z = reparameterise(mean.expand(n, 3), log_var.expand(n, 3), standard(n, 3))
    close(z.mean(0), mean, 0.03)
    close(z.var(0), log_var.exp(), 0.05)


def test_reparameterised_draws_are_differentiable():
    mean = torch.zeros(4, 2, requires_grad=True)
    log_var = torch.full((4, 2), 0.6, requires_grad=True)
    z = reparameterise(mean, log_var, standard(4, 2))
    z.sum().backward()
    assert mean.grad.eq(1).all()
    close(log_var.grad, 0.5 * z.detach())  # d/dv of exp(v/2) e is z/2 at mean 0


def test_reparameterise_keeps_the_dtype():
    mean = torch.zeros(2, 2, dtype=torch.float64)
    assert reparameterise(mean, mean, standard(2, 2).double()).dtype == torch.float64
