"""Adversarial losses and the gradient penalties that keep a discriminator smooth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor

Kind = Literal["nonsaturating", "wasserstein"]
Discriminate = Callable[[Tensor], Tensor]
"""Images (N, C, *S) -> logits (N,)."""


def nonsaturating_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Goodfellow et al., 2014 (arXiv 1406.2661): logits (N,), (M,) -> scalar."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def nonsaturating_generator(fake: Tensor) -> Tensor:
    """Goodfellow et al., 2014, section 3, the form with strong early gradients: (M,) -> scalar."""
    return F.softplus(-fake).mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Arjovsky et al., 2017 (arXiv 1701.07875): logits (N,), (M,) -> scalar."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """Arjovsky et al., 2017: (M,) -> scalar."""
    return -fake.mean()


def _gradient_norm2(discriminate: Discriminate, x: Tensor) -> Tensor:
    x = x.detach().float().requires_grad_()
    # Squares of small gradients vanish in half precision.
    with torch.autocast(x.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(discriminate(x).sum(), x, create_graph=True)
    return gradient.flatten(1).square().sum(1)


def r1_penalty(discriminate: Discriminate, real: Tensor) -> Tensor:
    """Half the mean squared gradient norm at real images; multiply by gamma.

    Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018
    (arXiv 1801.04406), eq. 9.

    Args:
        discriminate: images to logits; no batch norm inside, which would mix samples.
        real: (N, C, *S).

    Returns:
        Scalar, differentiable with respect to the discriminator.
    """
    return 0.5 * _gradient_norm2(discriminate, real).mean()


def gradient_penalty(
    discriminate: Discriminate, real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """Mean squared distance of the gradient norm from one, between real and fake images.

    Gulrajani et al., "Improved Training of Wasserstein GANs", 2017 (arXiv 1704.00028), eq. 3, with
    one mixing weight for each sample; multiply by lambda (10 in the paper).

    Args:
        discriminate: images to logits; no batch norm inside, which would mix samples.
        real: (N, C, *S).
        fake: (N, C, *S).
        generator: source of the mixing weights.

    Returns:
        Scalar, differentiable with respect to the discriminator.
    """
    weight = torch.rand(len(real), generator=generator, device=real.device)
    weight = weight.view(-1, *[1] * (real.ndim - 1))
    mixed = torch.lerp(fake.detach().float(), real.float(), weight)
    # The floor keeps the square root's derivative finite where the gradient vanishes.
    norm = _gradient_norm2(discriminate, mixed).clamp(min=1e-12).sqrt()
    return (norm - 1).square().mean()


@dataclass(frozen=True)
class AdversarialLoss:
    """A GAN's pair of losses with the gradient penalty that belongs to it.

    Attributes:
        kind: "nonsaturating" with R1 at real images, or "wasserstein" with the gradient penalty.
        penalty: weight of the penalty: gamma of R1, lambda of WGAN-GP; 0 for none.
        every: iterations between penalties; its weight grows by as much (lazy regularisation,
            Karras et al., 2020, arXiv 1912.04958, appendix B).
    """

    kind: Kind = "nonsaturating"
    penalty: float = 1.0
    every: int = 1

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"expected loss nonsaturating or wasserstein, got {self.kind!r}")
        if self.penalty < 0 or self.every < 1:
            raise ValueError(
                "expected penalty of 0 or more and every of 1 or more, "
                f"got penalty {self.penalty} and every {self.every}"
            )

    def for_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Logits (N,), (M,) -> scalar."""
        if self.kind == "wasserstein":
            return wasserstein_discriminator(real, fake)
        return nonsaturating_discriminator(real, fake)

    def for_generator(self, fake: Tensor) -> Tensor:
        """Logits (M,) -> scalar."""
        if self.kind == "wasserstein":
            return wasserstein_generator(fake)
        return nonsaturating_generator(fake)

    def due(self, iteration: int) -> bool:
        """Whether this iteration (counted from 0) pays the penalty."""
        return self.penalty > 0 and iteration % self.every == 0

    def weighted_penalty(
        self, discriminate: Discriminate, real: Tensor, fake: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The penalty of `kind`, times its weight: images (N, C, *S) twice -> scalar."""
        if self.kind == "wasserstein":
            value = gradient_penalty(discriminate, real, fake, generator)
        else:
            value = r1_penalty(discriminate, real)
        return self.penalty * self.every * value
