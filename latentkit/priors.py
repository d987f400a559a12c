"""Priors over latents: Gaussian, Uniform, GaussianOneHot (ClusterGAN) and Empirical.

Every prior is a plain object: it has no device (samples are made on the generator's device, on the
CPU without one) and never touches the global random state when a generator is given.
"""

import math

import torch
from torch import Tensor


def _device(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


class Gaussian:
    """Independent normal coordinates with mean 0 and standard deviation `sigma`.

    Args:
        dim: D, the number of coordinates.
        sigma: standard deviation of each.
    """

    def __init__(self, dim: int, sigma: float = 1.0) -> None:
        if sigma <= 0:
            raise ValueError(f"expected sigma above 0, got {sigma}")
        self.dim, self.sigma = dim, sigma

    def sample(self, n: int, /, *, generator: torch.Generator | None = None) -> Tensor:
        """N -> (n, D)."""
        noise = torch.randn(n, self.dim, generator=generator, device=_device(generator))
        return self.sigma * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """(N, D) -> log density in nats (N,)."""
        constant = self.dim * (0.5 * math.log(2 * math.pi) + math.log(self.sigma))
        return -0.5 * (z / self.sigma).square().sum(-1) - constant

    def cdf(self, z: Tensor) -> Tensor:
        """(N, D) -> cumulative probability of each coordinate (N, D)."""
        probability: Tensor = torch.special.ndtr(z / self.sigma)
        return probability

    def icdf(self, p: Tensor) -> Tensor:
        """Probabilities (N, D) in (0, 1) -> coordinates (N, D)."""
        standard: Tensor = torch.special.ndtri(p)
        return self.sigma * standard


class Uniform:
    """Independent coordinates, uniform on [low, high].

    Args:
        dim: D, the number of coordinates.
        low: lower bound of each.
        high: upper bound of each.
    """

    def __init__(self, dim: int, low: float = -1.0, high: float = 1.0) -> None:
        if not low < high:
            raise ValueError(f"expected low < high, got low={low} and high={high}")
        self.dim, self.low, self.high = dim, low, high

    def sample(self, n: int, /, *, generator: torch.Generator | None = None) -> Tensor:
        """N -> (n, D)."""
        noise = torch.rand(n, self.dim, generator=generator, device=_device(generator))
        return self.low + (self.high - self.low) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """(N, D) -> log density in nats (N,); -inf outside the support."""
        inside = ((z >= self.low) & (z <= self.high)).all(-1)
        value = -self.dim * math.log(self.high - self.low)
        return torch.where(inside, value, -math.inf).to(z.dtype)

    def cdf(self, z: Tensor) -> Tensor:
        """(N, D) -> cumulative probability of each coordinate (N, D)."""
        return ((z - self.low) / (self.high - self.low)).clamp(0, 1)

    def icdf(self, p: Tensor) -> Tensor:
        """Probabilities (N, D) in [0, 1] -> coordinates (N, D)."""
        return self.low + (self.high - self.low) * p


class GaussianOneHot:
    """ClusterGAN's prior: z = (sigma * N(0, I), one-hot class), classes equally likely.

    Mukherjee et al., "ClusterGAN", AAAI 2019 (arXiv 1809.03627), section 3.

    Args:
        continuous: number of Gaussian coordinates d_n.
        classes: number of one-hot coordinates K; D = d_n + K.
        sigma: standard deviation of the Gaussian part.
    """

    def __init__(self, continuous: int, classes: int, sigma: float = 0.1) -> None:
        if sigma < 0 or classes < 1:
            raise ValueError(
                f"expected sigma of 0 or more and a class or more, got {sigma} and {classes}"
            )
        self.continuous, self.classes, self.sigma = continuous, classes, sigma
        self.dim = continuous + classes

    def sample(self, n: int, /, *, generator: torch.Generator | None = None) -> Tensor:
        """N -> (n, D)."""
        device = _device(generator)
        label = torch.randint(self.classes, (n,), generator=generator, device=device)
        return self.sample_class(label, generator=generator)

    def sample_class(self, label: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Class indices (N,) -> latents of those classes (N, D)."""
        device = _device(generator)
        noise = torch.randn(len(label), self.continuous, generator=generator, device=device)
        code = torch.nn.functional.one_hot(label.to(device), self.classes).to(noise)
        return torch.cat([self.sigma * noise, code], dim=1)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> the Gaussian part (N, d_n) and the class part (N, K)."""
        return z[:, : self.continuous], z[:, self.continuous :]


class Empirical:
    """Draws, with replacement, from latents that were seen.

    Args:
        latents: (M, *Z), at least one.
    """

    def __init__(self, latents: Tensor) -> None:
        if len(latents) == 0:
            raise ValueError("expected at least one latent, got an empty tensor")
        self.latents = latents

    def sample(self, n: int, /, *, generator: torch.Generator | None = None) -> Tensor:
        """N -> (n, *Z)."""
        device = _device(generator)
        index = torch.randint(len(self.latents), (n,), generator=generator, device=device)
        return self.latents.to(device)[index]
