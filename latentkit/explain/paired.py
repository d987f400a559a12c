"""Directions found from known factors: what an encoder does when one of them changes alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from latentkit.data.batches import keyed_generator
from latentkit.data.shapes_render import FACTORS, render, sample_factors
from latentkit.explain import hooks
from latentkit.latent.points import check_points
from latentkit.protocols import Encode

_STEP = 0.15  # of a factor's range, to each side


def factor_pairs(name: str, n: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scenes before and after one factor grows, all else equal.

    Args:
        name: one of `FACTORS` but the shape.
        n: number of pairs.
        size: height and width.
        seed: of the other factors, the same for every name.

    Returns:
        Two times (n, 3, size, size).

    Raises:
        ValueError: no such factor, or the shape, which cannot grow.
    """
    if name not in FACTORS[1:]:
        raise ValueError(f"expected a factor of {', '.join(FACTORS[1:])}, got {name!r}")
    before = sample_factors(n, keyed_generator(seed, 7))
    column = FACTORS.index(name)
    before[:, column] = _STEP + (1 - 2 * _STEP) * before[:, column]
    after = before.clone()
    before[:, column] -= _STEP
    after[:, column] += _STEP
    return render(before, size).image, render(after, size).image


def paired_directions(
    encode: Encode, size: int, pairs: int = 600, names: Sequence[str] = FACTORS[1:]
) -> Tensor:
    """The mean change of the latents when a factor grows: (K, D), of length 1.

    Args:
        encode: images (N, 3, size, size) -> latents (N, D).
        size: height and width of the scenes.
        pairs: of each factor.
        names: the factors.

    Raises:
        ValueError: no such factor, or an encoder whose changes are not finite.
    """
    rows, owner = [], hooks.owner(encode)
    parameter = None if owner is None else next(owner.parameters(), None)
    device = None if parameter is None else parameter.device
    with hooks.borrowed(owner):
        for name in names:
            before, after = (x.to(device) for x in factor_pairs(name, pairs, size))
            rows.append((encode(after) - encode(before)).mean(0))
    found = torch.stack(rows)
    check_points(found, "mean changes")
    return torch.nn.functional.normalize(found, dim=1)
