"""Bounds on a linear Gaussian model, whose evidence and posterior are known."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from latentkit.metrics.likelihood import active_units, importance_bound, log_normal

NOISE = 0.5


class Linear:
    """x = W z + noise with z standard normal; q(z | x) is the posterior, moved and widened."""

    def __init__(self, shift, widen):
        generator = torch.Generator().manual_seed(0)
        self.w = torch.randn(5, 2, generator=generator).double()
        self.x = torch.randn(6, 5, generator=generator).double() * 2
        precision = torch.eye(2).double() + self.w.T @ self.w / NOISE**2
        self.cov = torch.linalg.inv(precision)
        self.mean = self.x @ self.w @ self.cov / NOISE**2 + shift
        self.q = MultivariateNormal(self.mean, self.cov * widen)
        self.seed = torch.Generator().manual_seed(1)

    def evidence(self):
        cov = self.w @ self.w.T + NOISE**2 * torch.eye(5).double()
        return MultivariateNormal(torch.zeros(5).double(), cov).log_prob(self.x)

    def log_weights(self, count):
        noise = torch.randn(count, 6, 2, generator=self.seed).double()
        z = self.mean + noise @ self.q.scale_tril[0].T
        likelihood = Normal(z @ self.w.T, NOISE).log_prob(self.x).sum(-1)
        zero = torch.zeros_like(z)
        return likelihood + log_normal(z, zero, zero) - self.q.log_prob(z)


def test_with_the_true_posterior_every_sample_gives_the_evidence():
    model = Linear(shift=0.0, widen=1.0)
    for samples in (1, 7):
        bound = importance_bound(model.log_weights, samples, chunk=3)
        assert torch.allclose(bound, model.evidence(), atol=1e-8)


def test_more_samples_close_the_gap_from_below():
    model = Linear(shift=0.3, widen=1.5)
    gaps = {}
    for samples in (1, 8, 64):
        bounds = [importance_bound(model.log_weights, samples) for _ in range(200)]
        gaps[samples] = (model.evidence() - torch.stack(bounds).mean(0)).mean().item()
    assert gaps[1] > gaps[8] > gaps[64] > -0.01
    assert gaps[64] < 0.1 * gaps[1]
    q, p = model.q, MultivariateNormal(model.mean - 0.3, model.cov)
    kl = torch.distributions.kl_divergence(q, p).mean().item()  # what one sample misses
    assert gaps[1] == pytest.approx(kl, rel=0.1)


def test_chunks_change_nothing():
    weights = torch.randn(10, 4, generator=torch.Generator().manual_seed(0)) * 50
    expected = weights.double().exp().mean(0).log()

    def reader():
        rows = iter(weights)
        return lambda count: torch.stack([next(rows) for _ in range(count)])

    for chunk in (1, 3, 10, 99):
        assert torch.allclose(importance_bound(reader(), 10, chunk), expected)


def test_large_images_do_not_overflow():
    assert importance_bound(lambda k: torch.full((k, 1), -5000.0), 8).item() == -5000


def test_log_normal_is_torchs():
    z, mean, log_var = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    expected = Normal(mean, (log_var / 2).exp()).log_prob(z).sum(-1)
    assert torch.allclose(log_normal(z, mean, log_var), expected, atol=1e-5)


def test_active_units_are_those_whose_means_move():
    means = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    means = means * torch.tensor([1.0, 0.2, 0.05, 0.0]) + 7
    assert active_units(means) == 2
    assert active_units(means, threshold=0.001) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: importance_bound(lambda k: torch.zeros(k, 2), 0), "samples.*got 0"),
        (lambda: importance_bound(lambda k: torch.zeros(k, 2), 4, 0), "chunk.*and 0"),
        (lambda: importance_bound(lambda k: torch.zeros(2), 4), r"\(4, N\), got \(2,\)"),
        (lambda: active_units(torch.zeros(1, 3)), r"2 images or more, got \(1, 3\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_weights_of_one_are_the_prior_itself():
    assert math.isclose(importance_bound(lambda k: torch.zeros(k, 1), 5).item(), 0, abs_tol=1e-12)
