"""New labelled latents around old ones. All randomness comes from the generator.

They take `TrainLatents` alone, so nothing that is held out can shape them.
"""

import math

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from latentkit.latent.augment import integers, uniform
from latentkit.latent.training_set import Augmented, TrainLatents, each_class
from latentkit.priors import Gaussian, Uniform
from latentkit.protocols import Prior


def gaussian(
    train: TrainLatents, per_class: int, generator: torch.Generator | None = None
) -> Augmented:
    """Draws of a normal distribution fitted to each class.

    With the shrunk covariance of Ledoit and Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices", 2004: between the sample's covariance and a multiple of
    the identity, so that a class may have fewer members than the latents have coordinates.

    Args:
        train: (N, *Z) training latents.
        per_class: number of new latents of each class.
        generator: of the draws, on its own device; None takes the global random state.

    Returns:
        K * per_class latents, class by class, ascending; the whole class are their parents.

    Raises:
        TypeError: if `train` is no `TrainLatents`.
        ValueError: if per_class < 1 or a class has a single member.
    """

    def make(members: Tensor) -> tuple[Tensor, Tensor]:
        wide = members.to("cpu", torch.float64)
        covariance = torch.from_numpy(ledoit_wolf(wide.numpy())[0])
        size, vectors = torch.linalg.eigh(covariance)  # unlike Cholesky's, it may be singular
        source = generator.device if generator else None
        noise = torch.randn(per_class, wide.shape[1], generator=generator, device=source)
        drawn = wide.mean(0) + (noise.to(wide) * size.clamp(min=0).sqrt()) @ vectors.T
        return drawn.to(members), torch.arange(len(members))

    return each_class(train, per_class, 2, make)


def jitter(
    train: TrainLatents,
    per_class: int,
    prior: Prior,
    strength: float = 0.3,
    generator: torch.Generator | None = None,
) -> Augmented:
    """Old latents with noise of the prior, moved so that the result follows the prior as they do.

    Agustsson et al., "Optimal transport maps for distribution preserving operations on latent
    spaces of Generative Models", ICLR 2019 (arXiv 1711.01970), vicinity sampling: y = z + e u with
    u of the prior, then F_prior^-1 o F_y by coordinate. For a Gaussian that is y / sqrt(1 + e^2).

    Args:
        train: (N, *Z) training latents.
        per_class: number of new latents of each class.
        prior: a Gaussian or a Uniform of D coordinates.
        strength: e > 0; 1 is as much noise as signal.
        generator: of the choices, on its own device; None takes the global random state.

    Returns:
        K * per_class latents, class by class, ascending; one parent each.

    Raises:
        TypeError: if `train` is no `TrainLatents`, or the prior is another.
        ValueError: if a number is out of range, the prior has another D, or a latent lies outside
            a Uniform's bounds.
    """
    if not isinstance(prior, Gaussian | Uniform):
        raise TypeError(f"expected a Gaussian or a Uniform prior, got {type(prior).__name__}")
    if not 0 < strength < float("inf"):
        raise ValueError(f"expected a finite strength above 0, got {strength}")

    def make(members: Tensor) -> tuple[Tensor, Tensor]:
        _check_prior(members, prior)
        chosen = integers(len(members), (per_class,), generator, members.device)
        noise = prior.sample(per_class, generator=generator).to(members)
        return _matched(members[chosen], noise, strength, prior), chosen[:, None]

    return each_class(train, per_class, 1, make)


def along(
    train: TrainLatents,
    per_class: int,
    direction: Tensor,
    strengths: tuple[float, float] = (-1.0, 1.0),
    generator: torch.Generator | None = None,
) -> Augmented:
    """Old latents, each moved a random way along a direction that leaves the class as it is.

    Whether it does is for the caller to know: along the attribute that is the label, new latents
    have wrong labels.

    Args:
        train: (N, *Z) training latents.
        per_class: number of new latents of each class.
        direction: (*Z), not zero; of unit length, strengths are distances.
        strengths: least and largest, drawn uniformly between.
        generator: of the choices, on its own device; None takes the global random state.

    Returns:
        K * per_class latents, class by class, ascending; one parent each.

    Raises:
        TypeError: if `train` is no `TrainLatents`.
        ValueError: if per_class < 1, the direction has another shape, is zero or not finite, or
            the strengths are no range.
    """
    low, high = strengths
    if not (low < high and abs(low) + abs(high) < float("inf")):
        raise ValueError(f"expected finite strengths (low, high) with low < high, got {strengths}")
    if not direction.isfinite().all() or not direction.any():
        raise ValueError("expected a finite direction that is not zero")

    def make(members: Tensor) -> tuple[Tensor, Tensor]:
        if direction.shape != train.z.shape[1:]:
            raise ValueError(
                f"expected a direction of shape {tuple(train.z.shape[1:])}, got "
                f"{tuple(direction.shape)}"
            )
        chosen = integers(len(members), (per_class,), generator, members.device)
        far = (low + (high - low) * uniform(per_class, generator)).to(members)
        return members[chosen] + far[:, None] * direction.to(members).flatten(), chosen[:, None]

    return each_class(train, per_class, 1, make)


def _check_prior(members: Tensor, prior: Gaussian | Uniform) -> None:
    if prior.dim != members.shape[1]:
        raise ValueError(f"expected a prior of {members.shape[1]} coordinates, got {prior.dim}")
    if isinstance(prior, Uniform) and not bool(
        ((members >= prior.low) & (members <= prior.high)).all()
    ):
        raise ValueError(
            f"expected latents in [{prior.low}, {prior.high}], as the prior says, got some outside"
        )


def _matched(z: Tensor, u: Tensor, strength: float, prior: Gaussian | Uniform) -> Tensor:
    """The sum z + strength u with the prior's distribution, if z and u have it."""
    if isinstance(prior, Gaussian):
        return (z + strength * u) / math.sqrt(1 + strength**2)
    width = prior.high - prior.low
    first, second = ((part.double() - prior.low) / width for part in (z, u))
    point: Tensor = prior.low + width * _sum_cdf(first + strength * second, strength)
    return point.to(z)


def _sum_cdf(y: Tensor, e: float) -> Tensor:
    """P(sum <= y) for the sum of a uniform on [0, 1] and one on [0, e]: a trapezoid's integral."""
    ramp = (y, y - 1, y - e, y - 1 - e)
    a, b, c, d = (part.clamp(min=0).square() / (2 * e) for part in ramp)
    area: Tensor = a - b - c + d
    return area.clamp(0, 1)
