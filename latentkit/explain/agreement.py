"""How alike are two maps of the same image? By ranks, so that scale and shift do not count."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from latentkit.metrics.ranking import rank_correlation

Explain: TypeAlias = Callable[[nn.Module, Tensor], Tensor]
"""Module and inputs (N, C, *S) -> maps (N, ...): `lambda m, x: saliency(m, x, unit(3))`."""


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Rank correlation of each pair of maps, with mean ranks for ties (Spearman, 1904).

    Args:
        a: (N, ...).
        b: (N, ...), the same shape.

    Returns:
        (N,) in [-1, 1], double precision; 0 where a map is constant, nan where one is not finite.

    Raises:
        ValueError: if the shapes differ or lack a batch dimension.

    >>> a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 100.0, 10.0]])
    >>> spearman(a, b).round(decimals=6)
    tensor([0.5000], dtype=torch.float64)
    """
    rows = _pair(a, b)
    finite = torch.stack([row.isfinite().all(1) for row in rows]).all(0)
    return torch.where(finite, rank_correlation(*rows), torch.nan)


def top_overlap(a: Tensor, b: Tensor, share: float = 0.1) -> Tensor:
    """Which part of the largest values of one map is among the largest of the other?

    The top-k intersection of Ghorbani et al., AAAI 2019 (arXiv 1710.10547). Ties to the first.

    Args:
        a: (N, ...).
        b: (N, ...), the same shape.
        share: k as a share of the places, in (0, 1]; at least one place.

    Returns:
        (N,) in [0, 1], double precision; nan where a map is not finite. Chance is `share`.

    Raises:
        ValueError: if the shapes differ or lack a batch dimension, or the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected a share in (0, 1], got {share}")
    rows = _pair(a, b)
    k = max(1, round(share * rows[0].shape[1]))
    tops = []
    for row in rows:
        order = row.argsort(dim=1, descending=True, stable=True)[:, :k]
        tops.append(torch.zeros_like(row).scatter(1, order, 1.0))
    finite = torch.stack([row.isfinite().all(1) for row in rows]).all(0)
    return torch.where(finite, (tops[0] * tops[1]).sum(1) / k, torch.nan)


def _pair(a: Tensor, b: Tensor) -> list[Tensor]:
    if a.shape != b.shape or a.ndim < 2:
        raise ValueError(
            f"expected two maps of one shape (N, ...), got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    return [maps.detach().flatten(1).double() for maps in (a, b)]
