"""Means on the sphere."""

from collections.abc import Sequence

import torch
from torch import Tensor


def frechet_mean(
    points: Tensor,
    weights: Sequence[float] | None = None,
    iterations: int = 100,
    tolerance: float | None = None,
) -> Tensor:
    """The direction with the least sum of squared angles to K others (Karcher's mean).

    Karcher, "Riemannian center of mass and mollifier smoothing", 1977; by Riemannian gradient
    descent with step 1: lift the points to the tangent space at the estimate, average, go there.
    The minimum is unique for points within an open half sphere; elsewhere it is the one that the
    normalised mean leads to.

    Args:
        points: (N, K, *Z), of any length but 0; flattened to directions.
        weights: K numbers of 0 or more, not all 0; None for equal ones.
        iterations: at most this many.
        tolerance: stop at this length of the gradient, in radians; None for ten times the machine
            epsilon.

    Returns:
        Unit vectors (N, *Z), in the points' dtype; half precision is computed in single.

    Raises:
        ValueError: if there is no point, one is zero or not finite, the weights are other than
            that, or the points cancel each other, so that there is no mean (opposite points).
    """
    if points.ndim < 3 or points.shape[1] == 0 or not points.is_floating_point():
        raise ValueError(
            f"expected floating points (N, K, *Z), K >= 1, got {points.dtype} of shape "
            f"{tuple(points.shape)}"
        )
    x = points.to(torch.promote_types(points.dtype, torch.float32)).flatten(2)
    length = torch.linalg.vector_norm(x, dim=2, keepdim=True)
    if not (length.isfinite() & (length > 0)).all():
        raise ValueError("expected finite points of non-zero length, got others")
    unit, share = x / length, _shares(weights, x)
    centre = (share * unit).sum(1, keepdim=True)
    size = torch.linalg.vector_norm(centre, dim=2, keepdim=True)
    epsilon = torch.finfo(x.dtype).eps
    if (size < epsilon**0.5).any():
        raise ValueError("expected points with a mean direction, got some that cancel each other")
    centre = centre / size
    for _ in range(iterations):
        gradient = (share * _log(centre, unit)).sum(1, keepdim=True)
        centre = _exp(centre, gradient)
        if gradient.detach().norm(dim=2).amax() <= (tolerance or 10 * epsilon):
            break
    mean: Tensor = centre.reshape(len(points), *points.shape[2:]).to(points.dtype)
    return mean


def _shares(weights: Sequence[float] | None, x: Tensor) -> Tensor:
    """Weights of sum 1: (K, 1)."""
    k = x.shape[1]
    w = torch.tensor([1.0] * k if weights is None else [float(v) for v in weights]).to(x)
    if len(w) != k or not (w >= 0).all() or not 0 < w.sum() < torch.inf:
        raise ValueError(f"expected {k} weights of 0 or more, not all 0, got {w.tolist()}")
    return (w / w.sum())[:, None]


def _log(centre: Tensor, unit: Tensor) -> Tensor:
    """Tangents at `centre` (N, 1, D) that lead to the points (N, K, D): as long as the angle."""
    apart = torch.linalg.vector_norm(unit - centre, dim=2, keepdim=True)
    angle = 2 * torch.atan2(apart, torch.linalg.vector_norm(unit + centre, dim=2, keepdim=True))
    side = unit - (unit * centre).sum(2, keepdim=True) * centre
    sine = torch.linalg.vector_norm(side, dim=2, keepdim=True)
    return torch.where(sine > 0, angle / torch.where(sine > 0, sine, 1), 1) * side


def _exp(centre: Tensor, tangent: Tensor) -> Tensor:
    """Where the great circle from `centre` along `tangent` ends, on the unit sphere."""
    angle = torch.linalg.vector_norm(tangent, dim=2, keepdim=True)
    there = angle.cos() * centre + torch.sinc(angle / torch.pi) * tangent
    end: Tensor = there / torch.linalg.vector_norm(there, dim=2, keepdim=True)
    return end
