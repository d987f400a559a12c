"""The evidence lower bound and its parts, in nats per image, summed over pixels.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014 (arXiv 1312.6114). Averaging over
pixels instead of summing would silently weigh the KL term several hundred times too much.
"""

import math

import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """Negative log-likelihood of images under independent Bernoulli pixels.

    Args:
        logits: (N, C, *S), one per pixel.
        x: (N, C, *S) in [0, 1]. Grey values are used as they are (the common cross-entropy form),
            so the result is a likelihood in the strict sense only for binary images.

    Returns:
        (N,) nats, summed over pixels.
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_nll(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    """Negative log-density of images under independent normal pixels of one common scale.

    Args:
        mean: (N, C, *S).
        x: (N, C, *S).
        log_scale: logarithm of the standard deviation, a scalar.

    Returns:
        (N,) nats, summed over pixels.
    """
    squares = (
        0.5 * ((x - mean) / log_scale.exp()).square() + log_scale + 0.5 * math.log(2 * math.pi)
    )
    return squares.flatten(1).sum(1)


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, 1)) of each coordinate: (N, D), (N, D) -> (N, D) nats."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def free_bits(kl: Tensor, nats: float) -> Tensor:
    """Total KL that charges no less than `nats` a coordinate, so that none is worth switching off.

    Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016
    (arXiv 1606.04934), appendix C.8: the floor holds for the batch mean of each coordinate.

    Args:
        kl: (N, D) nats.
        nats: floor of each coordinate; 0 gives the plain KL.

    Returns:
        Scalar: the mean over the batch of the sum over coordinates, floored.
    """
    return kl.mean(0).clamp(min=nats).sum()


def reparameterise(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """Turns standard normal noise into z ~ N(mean, exp(log_var)), differentiably: all (N, D)."""
    return mean + (0.5 * log_var).exp() * noise
