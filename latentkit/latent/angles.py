"""Directions against each other: how alike they are, and one without the others."""

import torch
from torch import Tensor

from latentkit.latent.points import check_points
from latentkit.latent.singular import strongest

_COLLINEAR = 1e-6  # singular values below this share of the largest add no condition
_INSIDE = 1e-4  # a direction with less than this share outside the conditions' span is in it


def cosines(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Cosine of each direction with each other one.

    Args:
        a: (K, D) directions of any length but zero.
        b: (L, D), or None for a itself.

    Returns:
        (K, L) in [-1, 1].

    Raises:
        ValueError: if the shapes do not fit, or a direction is zero or not finite.
    """
    other = a if b is None else b
    for name, rows in (("a", a), ("b", other)):
        check_points(rows, name)
        if not rows.any(1).all():
            raise ValueError(f"expected directions {name} other than zero, got a row of zeros")
    _check_sizes(a.shape[1], other)
    unit = torch.nn.functional.normalize
    return (unit(a, dim=1) @ unit(other, dim=1).T).clamp(-1, 1)


def orthogonal(d: Tensor, conditions: Tensor) -> Tensor:
    """A direction, or several, without what they share with others: conditional editing.

    Moving along d' leaves the projection on every condition as it is. d' = d - C^T (C C^T)^-1 C d,
    of unit length again: Shen et al., "Interpreting the Latent Space of GANs for Semantic Face
    Editing", CVPR 2020 (arXiv 1907.10786), section 2.2, for any number of conditions; conditions
    that depend on each other count once.

    Args:
        d: (D,) or (K, D), directions of any length but zero.
        conditions: (L, D), L >= 1, of any length but zero.

    Returns:
        Unit vectors in the shape of d; each has |C d'| < 1e-6 for unit conditions in single
        precision.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite, a condition is zero, or a
            direction lies in the span of the conditions, so that nothing is left of it.

    >>> orthogonal(torch.tensor([3.0, 4.0]), torch.tensor([[2.0, 0.0], [1.0, 0.0]]))
    tensor([0., 1.])
    """
    rows = d[None] if d.ndim == 1 else d
    check_points(rows, "d")
    left = without(rows, conditions).double()
    lengths = torch.linalg.vector_norm(rows.double(), dim=1)
    share = torch.linalg.vector_norm(left, dim=1) / lengths
    inside = (~(share > _INSIDE)).nonzero().flatten().tolist()  # a zero direction is nan
    if inside:
        raise ValueError(
            f"expected directions outside the span of the {len(conditions)} conditions, number "
            f"{', '.join(map(str, inside))} of {len(rows)} lies in it: nothing would be left"
        )
    # Once more: rounding left a trace of the conditions, which the short rest would enlarge.
    unit = torch.nn.functional.normalize(without(left, conditions.double()), dim=1)
    return unit.to(d.dtype).reshape(d.shape)


def without(z: Tensor, conditions: Tensor) -> Tensor:
    """Points without their part in the span of the conditions.

    Args:
        z: (N, D).
        conditions: (L, D), L >= 1, of any length but zero; they may depend on each other.

    Returns:
        (N, D), orthogonal to each condition.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite, or a condition is zero.
    """
    check_points(z)
    check_points(conditions, "conditions")
    _check_sizes(z.shape[1], conditions)
    lengths = torch.linalg.vector_norm(conditions.double(), dim=1, keepdim=True)
    if not (lengths > 0).all():
        raise ValueError("expected conditions other than zero, got a row of zeros")
    wide = conditions.double() / lengths
    _, sizes, rows = torch.linalg.svd(wide, full_matrices=False)
    basis: Tensor = rows[sizes > _COLLINEAR * sizes[0]]
    points = z.double()
    return (points - points @ basis.T @ basis).to(z.dtype)


def project(z: Tensor, d1: Tensor, d2: Tensor | None = None) -> Tensor:
    """Coordinates of latents on two axes of one's own choice, for a map.

    Liu et al., "Latent Space Cartography", EuroVis 2019: the first axis is a direction, the second
    by default the direction in which the latents vary most apart from the first.

    Args:
        z: (N, D) latents.
        d1: (D,) the first axis, of any length but zero.
        d2: (D,) the second one, made orthogonal to the first; None for the first principal
            component of what the first leaves.

    Returns:
        (N, 2) in the latents' unit, from their mean.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite, an axis is zero, both axes
            are one line, or the latents do not vary apart from the first.
    """
    check_points(z)
    check_points(d1[None], "d1")
    _check_sizes(z.shape[1], d1[None])
    if not d1.any():
        raise ValueError("expected an axis d1 other than zero")
    centred = z - z.mean(0)
    first = torch.nn.functional.normalize(d1.to(z), dim=0)
    if d2 is None:
        rest = without(centred, first[None])
        if rest.square().sum() <= 1e-10 * centred.square().sum():
            raise ValueError("expected latents that vary apart from d1: there is no second axis")
        second = strongest(rest, 1)[0]
    else:
        second = orthogonal(d2.to(z), first[None])
    return centred @ torch.stack([first, second]).T


def _check_sizes(dim: int, rows: Tensor) -> None:
    if rows.shape[1] != dim:
        raise ValueError(f"expected rows of {dim} numbers like the others, got {rows.shape[1]}")
