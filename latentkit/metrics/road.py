"""ROAD: does the score fall when marked places are replaced by what surrounds them?

Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022
(arXiv 2202.00449). Noisy linear imputation leaves no edges that would betray the shape of the
removed region, so no model has to be retrained.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from latentkit.metrics.perturbation import Curve
from latentkit.metrics.saliency import Judge, fitted, judged, portions, ranks

_SOLVED = 1e-9  # residual over right-hand side, in the Euclidean norm and double precision
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def road(
    score: Judge,
    x: Tensor,
    maps: Tensor,
    order: Literal["morf", "lerf"] = "morf",
    fractions: Sequence[float] = _SHARES,
    noise: float = 0.01,
    seed: int = 0,
) -> Curve:
    """Remove pixels in the order of the map, impute them, and watch the score.

    Args:
        score: the judge.
        x: (N, C, *S) images.
        maps: (N, *S_layer), by value; ties by position.
        order: "morf" removes the most relevant pixels first (a low curve is good), "lerf" the
            least relevant (a high one is good): exactly the reverse.
        fractions: shares to remove, rising, inside (0, 1), each at least a pixel more.
        noise: standard deviation of what is added to imputed pixels, in the images' unit; one field
            for each image, the same at all fractions and for all maps.
        seed: of the noise.

    Returns:
        The curve at these fractions.

    Raises:
        ValueError: if images, maps or scores do not fit together, maps are not finite, the order is
            unknown, the noise is negative or the fractions are not as said.
    """
    if order not in ("morf", "lerf") or noise < 0:
        raise ValueError(
            f"expected order 'morf' or 'lerf' and noise >= 0, got {order!r} and {noise}"
        )
    rank = ranks(fitted(maps, x))
    pixels = rank[0].numel()
    rank = rank if order == "morf" else pixels - 1 - rank
    counts = _counts(fractions, pixels).to(rank)
    stop = counts.view(-1, *[1] * (rank.ndim - 1))
    grain = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x) * noise

    def imputed(pairs: Tensor) -> Tensor:
        row, step = pairs // len(counts), pairs % len(counts)
        gone = rank[row] < stop[step]
        return impute(x[row], gone) + grain[row] * gone[:, None]

    scores = judged(score, map(imputed, portions(len(x) * len(counts), x)))
    return Curve(counts / pixels, scores.view(len(x), -1))


def impute(x: Tensor, removed: Tensor) -> Tensor:
    """Replace pixels so that each is the weighted mean of its neighbours, known or replaced.

    The linear system of Rong et al., section 4: in two dimensions weight 1/6 for the four direct
    neighbours and 1/12 for the four diagonal ones, over the weights of those inside the image. That
    is the binomial kernel (1, 2, 1) x (1, 2, 1) without its centre, which also serves signals and
    volumes. The system is symmetric and positive definite: conjugate gradients solve all images at
    once, in the precision of x (half: in single), in single to about 1e-4.

    Args:
        x: (N, C, *S); what it holds at removed pixels does not count.
        removed: (N, *S) bool, not all of an image.

    Returns:
        (N, C, *S).

    Raises:
        ValueError: if the shapes do not fit or nothing of an image is left.
    """
    if removed.shape != (len(x), *x.shape[2:]) or removed.dtype != torch.bool:
        raise ValueError(
            f"expected removed bool ({len(x)}, *S) for images {tuple(x.shape)}, got"
            f" {removed.dtype} {tuple(removed.shape)}"
        )
    if removed.flatten(1).all(1).any():
        raise ValueError("expected at least one pixel left in each image, got an image with none")
    hole, space = removed[:, None], tuple(range(2, x.ndim))
    wide = torch.promote_types(x.dtype, torch.float32)
    known = x.to(wide).masked_fill(hole, 0)
    level = known.sum(space, keepdim=True) / (~hole).sum(space, keepdim=True)
    weight = _around(torch.ones_like(known[:1, :1]))
    inside = hole.to(wide)  # products are many times faster than masks
    rest = _solve(_around((known - level) * (1 - inside)) * inside, weight, inside)
    return torch.where(hole, (level + rest).to(x), x)


def _solve(b: Tensor, weight: Tensor, inside: Tensor) -> Tensor:
    """Conjugate gradients: weight u - around(u) = b where inside is 1, u = 0 elsewhere."""
    space = tuple(range(2, b.ndim))
    u, rest, way = torch.zeros_like(b), b, b
    size = rest.square().sum(space, keepdim=True)
    goal = max(_SOLVED, 100 * torch.finfo(b.dtype).eps) ** 2 * size
    for _ in range(int(inside.flatten(1).sum(1).max()) + 10):  # in theory one for each unknown
        open_ = size > goal  # what is solved stays, so that no image depends on its batch
        if not open_.any():
            break
        pulled = (weight * way - _around(way)) * inside
        step = torch.where(open_, size / (way * pulled).sum(space, keepdim=True), 0)
        u, rest = u + step * way, rest - step * pulled
        before, size = size, rest.square().sum(space, keepdim=True)
        way = rest + torch.where(open_, size / before, 0) * way
    return u


def _around(u: Tensor) -> Tensor:
    """Binomial sum over each pixel and its neighbours: (N, C, *S) -> (N, C, *S), zero outside.

    The pixel's own weight does not matter: it cancels in the system that `_solve` solves.
    """
    for axis in range(2, u.ndim):
        ahead, behind = (u.narrow(axis, at, u.shape[axis] - 1) for at in (1, 0))
        u = 2 * u
        u.narrow(axis, 0, u.shape[axis] - 1).add_(ahead)
        u.narrow(axis, 1, u.shape[axis] - 1).add_(behind)
    return u


def _counts(fractions: Sequence[float], pixels: int) -> Tensor:
    """Shares of an image -> rising numbers of its pixels, between one and all but one."""
    shares = torch.tensor(fractions, dtype=torch.float64)
    counts = (shares * pixels).round().long()
    inside = len(counts) > 1 and bool(counts[0] > 0) and bool(counts[-1] < pixels)
    if not inside or not (counts.diff() > 0).all():
        raise ValueError(
            "expected 2 or more rising fractions inside (0, 1), each at least one pixel more of"
            f" {pixels}, got {tuple(fractions)}"
        )
    return counts
