"""How well latents fit their prior: a probability, a penalty for optimisers, and a projection.

For the priors of `latentkit.priors` that have a form: Gaussian, Uniform and GaussianOneHot.
"""

from typing import TypeAlias

import torch
from torch import Tensor

from latentkit.latent.classes import onto_simplex
from latentkit.latent.points import check_finite
from latentkit.priors import Gaussian, GaussianOneHot, Uniform
from latentkit.protocols import Prior

Known: TypeAlias = Gaussian | Uniform | GaussianOneHot
"""A prior whose form is known."""


def typicality(z: Tensor, prior: Prior) -> Tensor:
    """The chance that the prior gives a latent at least as far out; small is atypical.

    Gaussian: the upper tail of the chi-square distribution of |z|^2 / sigma^2 with D degrees of
    freedom, so that latents of the prior itself are uniform on [0, 1], and the centre has 1.
    Uniform: 1 inside the bounds, 0 outside. GaussianOneHot: that of the Gaussian part, times the
    largest class weight (1 for a one-hot code); 0 where the class part leaves the simplex.

    Args:
        z: (N, D).
        prior: a Gaussian, a Uniform or a GaussianOneHot.

    Returns:
        (N,) in [0, 1], at least in single precision.

    Raises:
        ValueError: if the prior is another, its D is not that of `z`, or a latent is not finite.

    >>> typicality(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), Gaussian(2))
    tensor([1.0000e+00, 3.7267e-06])
    """
    known, wide = _known(z, prior), z.double()
    check_finite(latents=z)
    if isinstance(known, Gaussian):
        found = _tail(wide, known.sigma)
    elif isinstance(known, Uniform):
        slack = torch.finfo(z.dtype).eps * max(abs(known.low), abs(known.high))
        inside = (z >= known.low - slack) & (z <= known.high + slack)
        found = inside.all(1).double()
    else:
        normal, code = known.split(wide)
        slack = 1e-3  # of a softmax in low precision
        on_simplex = (code.sum(1) - 1).abs().le(slack) & (code >= -slack).all(1)
        found = _tail(normal, known.sigma) * code.amax(1).clamp(0, 1) * on_simplex
    return found.to(torch.promote_types(z.dtype, torch.float32))


def penalty(z: Tensor, prior: Prior) -> Tensor:
    """What an optimiser should pay for leaving the prior; differentiable.

    Gaussian: half of what |z|^2 / sigma^2 / D exceeds 1, its mean. Latents as far out as those of
    the prior are free, so that this term does not move the inversion of a typical image; outside it
    is the negative log density per coordinate but for a constant. GaussianOneHot: that of its
    Gaussian part, and 1 - |c|^2 of the class part c, which is 0 for a one-hot code. Uniform: 0,
    since `project` keeps latents inside.

    Args:
        z: (N, D).
        prior: a Gaussian, a Uniform or a GaussianOneHot.

    Returns:
        (N,), 0 or more for latents on the prior's support.

    Raises:
        ValueError: as `typicality` does.
    """
    known = _known(z, prior)
    if isinstance(known, Uniform):
        return torch.zeros_like(z[:, 0])
    if isinstance(known, Gaussian):
        return _excess(z, known.sigma)
    normal, code = known.split(z)
    return _excess(normal, known.sigma) + 1 - code.square().sum(1)


def project(z: Tensor, prior: Prior) -> Tensor:
    """The nearest latents that the prior's support holds, its classes blended where they are.

    Gaussian: unchanged. Uniform: moved to the bounds. GaussianOneHot: the class part onto the
    simplex, by Duchi et al., "Efficient projections onto the l1-ball for learning in high
    dimensions", ICML 2008, figure 1.

    Args:
        z: (N, D).
        prior: a Gaussian, a Uniform or a GaussianOneHot.

    Returns:
        (N, D).

    Raises:
        ValueError: as `typicality` does.

    >>> project(torch.tensor([[9.0, 2.0, 1.0]]), GaussianOneHot(1, 2))
    tensor([[9., 1., 0.]])
    """
    known = _known(z, prior)
    if isinstance(known, Gaussian):
        return z
    if isinstance(known, Uniform):
        return z.clamp(known.low, known.high)
    normal, code = known.split(z)
    return torch.cat([normal if known.sigma else 0 * normal, onto_simplex(code)], dim=1)


def tangent(v: Tensor, prior: Prior) -> Tensor:
    """The part of a gradient that does not leave the plane of the prior's support.

    What an optimiser that scales every coordinate by itself, such as Adam, must be given: else
    `project` may undo its whole step. Only a GaussianOneHot has such a plane, in which the class
    part sums to 1.

    Args:
        v: (N, D).
        prior: a Gaussian, a Uniform or a GaussianOneHot.

    Returns:
        (N, D).

    Raises:
        ValueError: as `typicality` does.
    """
    known = _known(v, prior)
    if not isinstance(known, GaussianOneHot):
        return v
    normal, code = known.split(v)
    return torch.cat([normal, code - code.mean(1, keepdim=True)], dim=1)


def rank_p(scores: Tensor, reference: Tensor) -> Tensor:
    """Conformal p-values: how unusually large is a score among those of a reference?

    p = (1 + number of reference scores that are as large) / (R + 1). For a score that comes from
    the reference's distribution P(p <= a) <= a, whatever that distribution is: Vovk, Gammerman and
    Shafer, "Algorithmic Learning in a Random World", 2005, section 2.2.

    Args:
        scores: (N,), larger is more unusual.
        reference: (R,), at least one.

    Returns:
        (N,) in [1 / (R + 1), 1].

    Raises:
        ValueError: if there is no reference.
    """
    if reference.ndim != 1 or not len(reference):
        raise ValueError(f"expected reference scores (R,), got shape {tuple(reference.shape)}")
    larger = (reference[None] >= scores[:, None]).sum(1)
    return (1 + larger) / (len(reference) + 1)


def _known(z: Tensor, prior: Prior) -> Known:
    if not isinstance(prior, Known):
        raise ValueError(
            "expected a Gaussian, a Uniform or a GaussianOneHot prior, got "
            f"{type(prior).__name__}, whose typical latents are not known"
        )
    if z.ndim != 2 or z.shape[1] != prior.dim:
        raise ValueError(f"expected latents (N, {prior.dim}) of the prior, got {tuple(z.shape)}")
    return prior


def _tail(z: Tensor, sigma: float) -> Tensor:
    """P(|z'|^2 >= |z|^2) for normal z'; with sigma 0, or no coordinates, only 0 is possible."""
    if sigma == 0 or z.shape[1] == 0:
        return (z == 0).all(1).to(z)
    half = torch.full_like(z[:, 0], z.shape[1] / 2)
    tail: Tensor = torch.special.gammaincc(half, (z / sigma).square().sum(1) / 2)
    return tail


def _excess(z: Tensor, sigma: float) -> Tensor:
    if sigma == 0 or z.shape[1] == 0:
        return z.sum(1) * 0
    return 0.5 * ((z / sigma).square().mean(1) - 1).clamp(min=0)
