"""Weighted sums of uniform variables: their distributions, and who may enter one."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from torch import Tensor

from latentkit.priors import Uniform

MOST = 10
"""Largest number of terms: the CDF of K terms has up to 2^K - 1 pieces of degree K."""
_NEGLIGIBLE = 1e-6  # a term this much lighter than the heaviest is replaced by its mean
_SAME = 1e-12  # knots closer than this are one

_Array = NDArray[np.float64]


def trapezoid_cdf(y: Tensor, t: Tensor) -> Tensor:
    """P((1 - t) U + t V <= y) for U, V uniform on [0, 1].

    Args:
        y: in [0, 1].
        t: in (0, 1), broadcast with y.

    Returns:
        Probabilities of the broadcast shape.
    """
    short = torch.minimum(t, 1 - t)
    tail = torch.minimum(y, 1 - y)  # the density is symmetric: work in the lower half
    ramp = tail.square() / (2 * short * (1 - short))
    lower = torch.where(tail < short, ramp, (tail - short / 2) / (1 - short))
    return torch.where(y <= 0.5, lower, 1 - lower)


def sum_cdf(weights: Sequence[float]) -> Callable[[Tensor], Tensor]:
    """The distribution function of w_1 U_1 + ... + w_K U_K, the U_i uniform on [0, 1].

    F_k(y) is the mean of F_{k-1} over [y - w_k, y], so it is a piecewise polynomial of degree k;
    each piece is kept by its Chebyshev coefficients, which stays accurate (1e-9) where the closed
    form by alternating signs (Irwin and Hall, 1927) loses every digit, at unequal weights.

    Args:
        weights: K numbers of 0 or more, not all 0, of sum 1. A weight below 1e-6 of the largest
            counts by its mean, which changes F by less than 1e-12.

    Returns:
        y of any shape -> probabilities of the same shape, dtype and device, differentiable.

    Raises:
        ValueError: if more than MOST weights are above 0.

    >>> sum_cdf([0.5, 0.5])(torch.tensor([0.25, 0.5, 1.0]))
    tensor([0.1250, 0.5000, 1.0000])
    """
    heavy = sorted((w for w in weights if w > _NEGLIGIBLE * max(weights)), reverse=True)
    if len(heavy) > MOST:
        raise ValueError(
            f"expected at most {MOST} weights above 0 under a Uniform prior, got {len(heavy)}; "
            "leave out the lightest, or use lerp"
        )
    shift = sum(w for w in weights if w <= _NEGLIGIBLE * max(weights)) / 2
    knots, pieces = np.array([0, heavy[0]]), np.array([[0.5], [0.5]])
    for weight in heavy[1:]:
        knots, pieces = _averaged(knots, pieces, weight)
    return lambda y: _evaluate(y - shift, knots, pieces)


def _averaged(knots: _Array, pieces: _Array, weight: float) -> tuple[_Array, _Array]:
    """Knots (P + 1,) and coefficients (degree + 1, P) of the mean of F over [y - weight, y]."""
    degree = len(pieces)
    width = np.diff(knots)
    integral = chebyshev.chebint(pieces, lbnd=-1) * width / 2
    starts = np.concatenate([[0], np.cumsum(chebyshev.chebval(1, integral))])

    def area(y: _Array) -> _Array:
        """The integral of F from its lower end to y."""
        inside = y.clip(0, knots[-1])
        j = (np.searchsorted(knots, inside, side="right") - 1).clip(0, len(width) - 1)
        at = 2 * (inside - knots[j]) / width[j] - 1
        beyond = (y - knots[-1]).clip(0)
        return np.asarray(starts[j] + chebyshev.chebval(at, integral[:, j], tensor=False) + beyond)

    both = np.union1d(knots, knots + weight)
    both = both[np.concatenate([[True], np.diff(both) > _SAME])]
    nodes = chebyshev.chebpts1(degree + 1)[:, None]
    y = both[:-1] + np.diff(both) * (nodes + 1) / 2
    values = (area(y) - area(y - weight)) / weight
    fitted = np.linalg.solve(chebyshev.chebvander(nodes[:, 0], degree), values)
    return both, np.asarray(fitted, np.float64)


def _evaluate(y: Tensor, knots: _Array, pieces: _Array) -> Tensor:
    """Clenshaw's recurrence on the piece that each y lies in."""
    low = torch.as_tensor(knots[:-1]).to(y)
    width = torch.as_tensor(np.diff(knots)).to(y)
    table = torch.as_tensor(pieces).to(y)
    j = (torch.bucketize(y.detach().contiguous(), low, right=True) - 1).clamp(0)
    at = 2 * (y - low[j]) / width[j] - 1
    at = at + (at.clamp(-1, 1) - at).detach()  # rounding at a knot must not cost the gradient
    after, next_after = torch.zeros_like(y), torch.zeros_like(y)
    for row in table[1:].flip(0):
        after, next_after = row[j] + 2 * at * after - next_after, after
    return (table[0][j] + at * after - next_after).clamp(0, 1)


def check_support(z: Tensor, prior: Uniform) -> None:
    """Raise ValueError for a latent outside the bounds by more than the rounding of its dtype."""
    if z.numel() == 0:
        return
    slack = torch.finfo(z.dtype).eps * max(abs(prior.low), abs(prior.high))
    low, high = (float(v) for v in z.detach().aminmax())
    if not (prior.low - slack <= low and high <= prior.high + slack):
        raise ValueError(
            f"expected latents inside the prior's bounds [{prior.low}, {prior.high}], got values "
            f"in [{low:.4g}, {high:.4g}]; use lerp, or clamp them"
        )
