"""Weighted sums of latents that follow the prior: vicinity, analogy, means of many.

Agustsson et al., "Optimal transport maps for distribution preserving operations on latent spaces
of Generative Models", ICLR 2019 (arXiv 1711.01970): a sum of independent samples has another
distribution F than the prior; T = F_prior^-1 o F moves it back, coordinate by coordinate, the
least on average. Operations keep dtype and device and are differentiable by the points. Half
precision is computed in single.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from latentkit.latent.classes import ClassPart, check_class_part, onto_simplex, split_checked
from latentkit.latent.points import check_size
from latentkit.latent.uniform_sums import check_support, sum_cdf
from latentkit.priors import Gaussian, GaussianOneHot, Uniform
from latentkit.protocols import Prior


def combine(
    points: Tensor, weights: Sequence[float], prior: Prior, classes: ClassPart = "simplex"
) -> Tensor:
    """The sum of w_i z_i, moved so that it follows the prior when the z_i do; free of w's scale.

    Args:
        points: (N, K, *Z), K independent latents for each result.
        weights: K finite numbers of either sign, not all 0.
        prior: a Gaussian; a Uniform, for at most `uniform_sums.MOST` weights other than 0; or a
            GaussianOneHot, whose class part is the nearest point of the simplex to the sum.
        classes: "switch" takes the class part of the heaviest weight (the first of equals) instead.

    Returns:
        (N, *Z); a point itself where its weight, above 0, is the only one.

    Raises:
        ValueError: if shapes, weights or the prior are other than that (its D, too), points are
            not finite, lie outside a Uniform's bounds or have class parts off the simplex.
    """
    w = _checked(points, weights)
    check_size(points[:, 0], prior)
    check_class_part(classes)
    if isinstance(prior, GaussianOneHot):
        return _mixed(points, w, prior, classes)
    used = [i for i, v in enumerate(w) if v != 0]
    if isinstance(prior, Uniform):
        check_support(points, prior)
    elif not isinstance(prior, Gaussian):
        raise ValueError(
            "expected a Gaussian, a Uniform or a GaussianOneHot prior, got "
            f"{type(prior).__name__}; average the latents themselves"
        )
    if len(used) == 1 and w[used[0]] > 0:
        return points[:, used[0]]
    x = points.to(torch.promote_types(points.dtype, torch.float32))
    moved = _uniform(x, w, prior) if isinstance(prior, Uniform) else _gaussian(x, w)
    return moved.to(points.dtype)


def mean(
    points: Tensor,
    weights: Sequence[float] | None,
    prior: Prior,
    classes: ClassPart = "simplex",
) -> Tensor:
    """The weighted mean of K latents, true to the prior.

    Args:
        points: (N, K, *Z).
        weights: K numbers of 0 or more, not all 0; None for equal ones.
        prior: as for `combine`.
        classes: as for `combine`.

    Returns:
        (N, *Z).

    Raises:
        ValueError: for a negative weight, or as `combine` does.

    >>> mean(torch.tensor([[[3.0], [4.0]]]), [3, 4], Gaussian(1))
    tensor([[5.]])
    """
    if weights is None:
        weights = [1.0] * (points.shape[1] if points.ndim > 1 else 0)
    if min(weights, default=0) < 0:
        raise ValueError(f"expected weights of 0 or more, got {[*weights]}; use combine for others")
    return combine(points, weights, prior, classes)


def analogy(
    a: Tensor, b: Tensor, c: Tensor, prior: Prior, classes: ClassPart = "simplex"
) -> Tensor:
    """What is to `c` as `b` is to `a`: c + b - a, true to the prior.

    Args:
        a: (N, *Z).
        b: (N, *Z).
        c: (N, *Z).
        prior: as for `combine`.
        classes: as for `combine`; "switch" gives the class of b.

    Returns:
        (N, *Z).

    Raises:
        ValueError: if the three differ in shape, dtype or device, or as `combine` does.
    """
    for name, x in (("b", b), ("c", c)):
        if x.shape != a.shape or x.dtype != a.dtype or x.device != a.device:
            raise ValueError(
                f"expected a, b and c of one shape, dtype and device, got a {_kind(a)} and "
                f"{name} {_kind(x)}"
            )
    return combine(torch.stack([b, c, a], dim=1), [1, 1, -1], prior, classes)


def vicinity(
    z: Tensor,
    epsilon: float,
    prior: Prior,
    n: int = 1,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Neighbours of latents, true to the prior: z + epsilon u with u a sample of it.

    Args:
        z: (N, *Z).
        epsilon: 0 or more; 0 gives z itself. With growing epsilon, z is forgotten.
        prior: as for `combine`; the class part of a GaussianOneHot stays as it is.
        n: neighbours of each.
        generator: of the samples.

    Returns:
        (N, n, *Z).

    Raises:
        ValueError: if epsilon < 0, n < 1, the prior has another size, or as `combine` does.
    """
    if not 0 <= epsilon < math.inf or n < 1:
        raise ValueError(f"expected epsilon of 0 or more and n of 1 or more, got {epsilon} and {n}")
    if z.ndim < 2:
        raise ValueError(f"expected latents (N, *Z), got shape {tuple(z.shape)}")
    check_size(z, prior)
    noise = prior.sample(len(z) * n, generator=generator).to(z).reshape(-1, *z.shape[1:])
    repeated = z.repeat_interleave(n, dim=0)
    if isinstance(prior, GaussianOneHot):
        noise = torch.cat([prior.split(noise)[0], prior.split(repeated)[1]], dim=1)
    near = combine(torch.stack([repeated, noise], dim=1), [1, epsilon], prior)
    return near.reshape(len(z), n, *z.shape[1:])


def _checked(points: Tensor, weights: Sequence[float]) -> list[float]:
    """The weights, of absolute sum 1, where they and the points fit."""
    if points.ndim < 3 or points.shape[1] == 0 or not points.is_floating_point():
        raise ValueError(
            f"expected floating points (N, K, *Z), K >= 1, got {points.dtype} of shape "
            f"{tuple(points.shape)}"
        )
    w = [float(v) for v in weights]
    total = sum(map(abs, w))
    if len(w) != points.shape[1] or not 0 < total < math.inf:
        raise ValueError(
            f"expected {points.shape[1]} finite weights, one a point and not all 0, got {w}"
        )
    if not points.isfinite().all():
        raise ValueError("expected finite points, got NaN or infinity")
    return [v / total for v in w]


def _kind(x: Tensor) -> str:
    return f"{tuple(x.shape)} {x.dtype} {x.device}"


def _sum(x: Tensor, w: Sequence[float]) -> Tensor:
    """(N, K, *Z) -> (N, *Z)."""
    total: Tensor = torch.tensordot(torch.tensor(w, dtype=x.dtype, device=x.device), x, ([0], [1]))
    return total


def _gaussian(x: Tensor, w: Sequence[float]) -> Tensor:
    """A weighted sum of normals has the standard deviation |w|: divide by it."""
    return _sum(x, w) / math.hypot(*w)


def _uniform(x: Tensor, w: Sequence[float], prior: Uniform) -> Tensor:
    """On the unit interval; -w U has the distribution of w (1 - U) - w."""
    width = prior.high - prior.low
    position = ((x - prior.low) / width).clamp(0, 1)
    below = -sum(v for v in w if v < 0)
    return prior.low + width * sum_cdf([abs(v) for v in w])(_sum(position, w) + below)


def _mixed(points: Tensor, w: Sequence[float], prior: GaussianOneHot, classes: ClassPart) -> Tensor:
    """The Gaussian part without its sigma, which the matching is free of and which may be 0."""
    flat, k = points.flatten(0, 1), points.shape[1]
    parts = [part.reshape(-1, k, part.shape[1]) for part in split_checked(flat, prior)]
    x, codes = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in parts)
    if classes == "switch":
        code = codes[:, max(range(k), key=w.__getitem__)]
    elif abs(sum(w)) < 1e-12:
        raise ValueError("expected weights whose sum is not 0 for a class part, got a sum of 0")
    else:
        code = onto_simplex(_sum(codes, [v / sum(w) for v in w]))
    return torch.cat([_gaussian(x, w), code], dim=1).to(points.dtype)
