"""What a latent variable model's likelihood says: importance-weighted bounds, active units.

Logarithms are natural; all bounds are in nats an image, summed over pixels.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

ACTIVE = 0.01
"""Variance of a posterior mean over images from which on a unit is active, as in the paper."""


def log_normal(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Log density of independent normal coordinates: three (..., D) -> (...,) nats."""
    squares = (z - mean).square() / log_var.exp() + log_var + math.log(2 * math.pi)
    return -0.5 * squares.sum(-1)


def importance_bound(
    log_weights: Callable[[int], Tensor], samples: int = 64, chunk: int = 16
) -> Tensor:
    """Lower bound of the log-likelihood from several posterior samples of each image.

    Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016 (arXiv
    1509.00519), eq. 8: log mean over k of w_k with w_k = p(x | z_k) p(z_k) / q(z_k | x) and z_k
    drawn from q(z | x). One sample gives the evidence lower bound; in expectation more samples
    never give less, nor more than log p(x).

    Args:
        log_weights: k -> (k, N): log w of k fresh samples for each of the N images.
        samples: K in all.
        chunk: most samples asked for at a time.

    Returns:
        (N,) nats, in float64.

    Raises:
        ValueError: if `samples` or `chunk` is below 1, or `log_weights` gives another shape.

    >>> importance_bound(lambda k: torch.zeros(k, 2)).tolist()
    [0.0, 0.0]
    """
    if samples < 1 or chunk < 1:
        raise ValueError(f"expected samples and chunk of 1 or more, got {samples} and {chunk}")
    counts = [min(chunk, samples - start) for start in range(0, samples, chunk)]
    parts = [_log_sum(log_weights(count), count) for count in counts]
    return torch.stack(parts).logsumexp(0) - math.log(samples)


def _log_sum(log_weights: Tensor, count: int) -> Tensor:
    """(k, N) -> (N,), the logarithm of the sum of the weights."""
    if log_weights.ndim != 2 or len(log_weights) != count:
        raise ValueError(f"expected log weights ({count}, N), got {tuple(log_weights.shape)}")
    return log_weights.double().logsumexp(0)


def active_units(means: Tensor, threshold: float = ACTIVE) -> int:
    """Number of latent coordinates that say something about the image.

    Burda et al. (arXiv 1509.00519), section 5.2: those whose posterior mean varies over images
    by more than the threshold.

    Args:
        means: (N, D) posterior means of N >= 2 images.
        threshold: of the variance, for a prior of unit variance.

    Raises:
        ValueError: if there are fewer than two images or the means are not flat.
    """
    if means.ndim != 2 or len(means) < 2:
        raise ValueError(
            f"expected posterior means (N, D) of 2 images or more, got {tuple(means.shape)}"
        )
    return int((means.var(0) > threshold).sum())
