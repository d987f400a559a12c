"""Singular vectors with a sign: what the directions without labels are made of."""

import torch
from torch import Tensor


def strongest(matrix: Tensor, k: int) -> Tensor:
    """Top right singular vectors, each with its largest component positive.

    Args:
        matrix: (M, D), finite; half precision is computed in single.
        k: number of vectors, at most min(M, D).

    Returns:
        (k, D) orthonormal, strongest first, in the matrix's dtype.

    >>> strongest(torch.tensor([[0.0, -3.0], [1.0, 0.0]]), 2)
    tensor([[0., 1.],
            [1., 0.]])
    """
    wide = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    rows: Tensor = torch.linalg.svd(wide, full_matrices=False).Vh[:k]
    return with_signs(rows).to(matrix.dtype)


def with_signs(rows: Tensor) -> Tensor:
    """(K, D) -> the same rows, each with its largest component positive."""
    # The first of almost equal components decides, so that rounding cannot flip a tie.
    size = rows.abs()
    first = (size >= 0.999 * size.amax(1, keepdim=True)).int().argmax(1, keepdim=True)
    return torch.where(rows.gather(1, first) < 0, -rows, rows)


def check_k(k: int, most: int, what: str) -> None:
    """Raise ValueError unless 1 <= k <= `most`, the number of directions that `what` has."""
    if not 1 <= k <= most:
        raise ValueError(f"expected 1 <= k <= {most} directions of {what}, got k={k}")
