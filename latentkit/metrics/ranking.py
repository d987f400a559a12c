"""Rank correlation of many rows at once, each over its own places."""

import torch
from torch import Tensor

_ORDERED = 1e-3  # centred ranks differ by a half at least, or not at all: less is rounding


def rank_correlation(a: Tensor, b: Tensor, where: Tensor | None = None) -> Tensor:
    """Spearman's rho of each pair of rows, tied values at their mean rank (Spearman, 1904).

    Args:
        a: (N, P) finite.
        b: (N, P) finite.
        where: (N, P) bool, the places that count in each row; None for all.

    Returns:
        (N,) in [-1, 1], double precision; 0 where a row is constant on its places.

    >>> a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 100.0, 10.0]])
    >>> rank_correlation(a, b).round(decimals=6)
    tensor([0.5000], dtype=torch.float64)
    """
    if where is None:
        where = torch.ones_like(a, dtype=torch.bool)
    rows = []
    for values in (a, b):
        # What does not count is ranked last, above all that does, and then left out.
        ranks = mean_ranks(values.double().masked_fill(~where, torch.inf)).masked_fill(~where, 0)
        centre = ranks.sum(1, keepdim=True) / where.sum(1, keepdim=True).clamp_min(1)
        rows.append((ranks - centre).masked_fill(~where, 0))
    norms = [row.norm(dim=1) for row in rows]
    rho = (rows[0] * rows[1]).sum(1) / (norms[0] * norms[1]).clamp_min(_ORDERED**2)
    return torch.where(torch.minimum(*norms) > _ORDERED, rho.clamp(-1, 1), 0.0)


def mean_ranks(values: Tensor) -> Tensor:
    """(N, P) -> how many values of the row are smaller, plus half of the others as large.

    >>> mean_ranks(torch.tensor([[7.0, 1.0, 7.0]]))
    tensor([[1.5000, 0.0000, 1.5000]], dtype=torch.float64)
    """
    ordered = values.sort(dim=1).values
    below, upto = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + upto - 1).double() / 2
