"""New labelled latents around old ones. All randomness comes from the generator.

They take `TrainLatents` alone, so nothing that is held out can shape them.
"""

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from latentkit.latent.augment import integers, uniform
from latentkit.latent.matching import vicinity
from latentkit.latent.training_set import Augmented, TrainLatents, each_class
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
        prior: a Gaussian, a Uniform or a GaussianOneHot of D coordinates; the class part of the
            last stays as it is.
        strength: e > 0; 1 is as much noise as signal.
        generator: of the choices, on its own device; None takes the global random state.

    Returns:
        K * per_class latents, class by class, ascending; one parent each.

    Raises:
        TypeError: if `train` is no `TrainLatents`.
        ValueError: if a number is out of range, the prior is another or has another D, or a latent
            lies outside a Uniform's bounds or has a class part off the simplex.
    """
    if not 0 < strength < float("inf"):
        raise ValueError(f"expected a finite strength above 0, got {strength}")

    def make(members: Tensor) -> tuple[Tensor, Tensor]:
        chosen = integers(len(members), (per_class,), generator, members.device)
        near = vicinity(members[chosen], strength, prior, generator=generator)
        return near[:, 0], chosen[:, None]

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
