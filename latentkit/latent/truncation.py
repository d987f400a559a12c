"""Latents from the middle of a prior: less variety for safer images, in decoders without styles."""

from functools import partial

import torch
from torch import Tensor

from latentkit.priors import Gaussian, GaussianOneHot
from latentkit.protocols import Prior


def truncated(
    prior: Prior, n: int, limit: float, generator: torch.Generator | None = None
) -> Tensor:
    """Samples of the prior whose Gaussian coordinates all lie within `limit` deviations of 0.

    Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis", ICLR 2019
    (arXiv 1809.11096), section 3.1: coordinates outside are drawn again, so that those inside keep
    their density. Here the truncated distribution is drawn from directly, by its inverse cumulative
    distribution. ClusterGAN's one-hot part has no tails and stays as it is.

    Args:
        prior: a Gaussian or a GaussianOneHot.
        n: how many.
        limit: in standard deviations, above 0; beyond 4 it changes next to nothing.
        generator: of the samples; None takes the global random state.

    Returns:
        (n, D), on the generator's device (CPU without one).

    Raises:
        ValueError: if the prior is another, n is negative, or the limit is not above 0.
    """
    if not limit > 0 or n < 0:
        raise ValueError(f"expected n of 0 or more and a limit above 0, got {n} and {limit}")
    if isinstance(prior, Gaussian):
        return prior.sigma * _normal(n, prior.dim, limit, generator)
    if isinstance(prior, GaussianOneHot):
        _, code = prior.split(prior.sample(n, generator=generator))
        noise = prior.sigma * _normal(n, prior.continuous, limit, generator)
        return torch.cat([noise, code], dim=1)
    raise ValueError(
        f"expected a Gaussian or a GaussianOneHot prior, got {type(prior).__name__}, which has no "
        "tails that are known; shrink its latents with style.truncate instead"
    )


def _normal(n: int, dim: int, limit: float, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers (n, dim) within [-limit, limit]."""
    device = torch.device("cpu") if generator is None else generator.device
    draw = partial(torch.rand, generator=generator, device=device, dtype=torch.float64)
    # In double, and from the lower half with a random sign: the upper tail has no digits left.
    low = torch.special.ndtr(torch.tensor(-limit, dtype=torch.float64, device=device))
    half = torch.special.ndtri(low + (0.5 - low) * draw(n, dim))
    half = half.clamp(min=-limit)  # rounding may leave it, and p = 0 gives -infinity
    signed: Tensor = torch.where(draw(n, dim) < 0.5, half, -half)
    return signed.float()
