"""The class part of a latent: probabilities, one-hot for a sample of the prior."""

import math
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from latentkit.priors import GaussianOneHot

ClassPart: TypeAlias = Literal["simplex", "switch"]
"""How classes meet: by convex combination on the simplex, or the heaviest alone."""


def check_class_part(classes: str) -> None:
    """Raise ValueError unless `classes` is one of `ClassPart`."""
    if classes not in get_args(ClassPart):
        raise ValueError(f"expected classes to be one of {get_args(ClassPart)}, got {classes!r}")


def split_checked(z: Tensor, prior: GaussianOneHot) -> tuple[Tensor, Tensor]:
    """Split mixed latents into their Gaussian and their class part.

    Args:
        z: (N, D).
        prior: whose `dim` is D.

    Returns:
        (N, d_n) and (N, K).

    Raises:
        ValueError: if z has another shape, or class parts that are no probabilities of sum 1 (to
            0.001, and the square root of the machine epsilon).
    """
    if z.ndim != 2 or z.shape[1] != prior.dim:
        raise ValueError(f"expected latents (N, {prior.dim}), got shape {tuple(z.shape)}")
    gaussian, codes = prior.split(z)
    tolerance = max(1e-3, math.sqrt(torch.finfo(z.dtype).eps))
    exact = codes.detach().double()
    off = (exact.sum(1) - 1).abs() - exact.clamp(max=0).sum(1)
    if (off > tolerance).any():
        raise ValueError(
            f"expected class parts of 0 or more with sum 1, got {int((off > tolerance).sum())} of "
            f"{len(z)} that are not, the first {codes[int(off.argmax())].tolist()}; "
            "use lerp or slerp for latents off the simplex"
        )
    return gaussian, codes


def with_classes_on_simplex(z: Tensor, prior: GaussianOneHot) -> Tensor:
    """Latents whose class part is the nearest probabilities; the Gaussian part stays.

    Args:
        z: (N, D).
        prior: whose `dim` is D.

    Returns:
        (N, D); differentiable.
    """
    gaussian, codes = prior.split(z)
    return torch.cat([gaussian, onto_simplex(codes)], dim=1)


def onto_simplex(x: Tensor) -> Tensor:
    """The nearest probabilities.

    Duchi et al., "Efficient Projections onto the l1-Ball for Learning in High Dimensions", ICML
    2008, figure 1.

    Args:
        x: (N, K).

    Returns:
        (N, K), 0 or more, of sum 1; x itself where it is that already.

    >>> onto_simplex(torch.tensor([[-1.0, 1.0, 1.0]]))
    tensor([[0.0000, 0.5000, 0.5000]])
    """
    ordered = x.sort(dim=1, descending=True).values
    ranks = torch.arange(1, x.shape[1] + 1, device=x.device)
    excess = (ordered.cumsum(1) - 1) / ranks
    last = (ordered > excess).sum(1, keepdim=True) - 1
    return (x - excess.gather(1, last)).clamp(min=0)
