"""Maps that a heatmap of a direction must beat to be worth looking at.

All are (N, *S), not negative. The first ones know nothing of the direction: in
`faithfulness.direction_retrieval` they tie with themselves and score 0, so there the number to beat
is chance, 1 / K, which `shuffled` maps reach. In every other metric they are to be scored
like the heatmap, on the same images: on pictures of one object brightness alone scores well.
"""

import torch
from torch import Tensor

from latentkit.explain.directions import effect
from latentkit.protocols import Decode


def uniform(x: Tensor) -> Tensor:
    """Images (N, C, *S) -> ones (N, *S).

    Raises:
        ValueError: if the images are not floating point (N, C, *S).
    """
    _check(x)
    return torch.ones_like(x[:, 0])


def centre(x: Tensor, width: float = 0.25) -> Tensor:
    """Images (N, C, *S) -> a Gaussian around the middle (N, *S), 1 at its top.

    Args:
        x: images, which do not matter but for their shape.
        width: standard deviation, as a share of each side.

    Raises:
        ValueError: if the images are not floating point (N, C, *S) or the width is not above 0.
    """
    _check(x)
    if not width > 0:
        raise ValueError(f"expected a width > 0, got {width}")
    out = uniform(x)
    for axis in range(1, out.ndim):
        size = out.shape[axis]
        place = (torch.arange(size, device=x.device) + 0.5) / size - 0.5
        bell = torch.exp(-(place / width).square() / 2).to(out)
        out = out * bell.view(-1, *[1] * (out.ndim - 1 - axis))
    return out


def intensity(x: Tensor) -> Tensor:
    """Images (N, C, *S) -> |x| averaged over channels (N, *S).

    Raises:
        ValueError: if the images are not floating point (N, C, *S).
    """
    _check(x)
    return x.detach().abs().mean(1)


def sobel(x: Tensor) -> Tensor:
    """Images (N, C, *S) -> strength of edges (N, *S).

    Differences (-1, 0, 1) along each axis, smoothed by (1, 2, 1) along the others, the border's
    values going on outside; their norm over axes and channels.

    Raises:
        ValueError: if the images are not floating point (N, C, *S).
    """
    _check(x)
    axes = range(2, x.ndim)
    squares = torch.zeros_like(x)
    for along in axes:
        edge = x.detach()
        for axis in axes:
            low, mid, high = _shifted(edge, axis)
            edge = high - low if axis == along else low + 2 * mid + high
        squares = squares + edge.square()
    return squares.sum(1).sqrt()


def mean_change(truths: Tensor) -> Tensor:
    """Changes (K, N, *S) along K directions -> their mean absolute value (N, *S).

    Raises:
        ValueError: if the changes have no space.
    """
    if truths.ndim < 3:
        raise ValueError(f"expected changes (K, N, *S), got {tuple(truths.shape)}")
    return truths.detach().abs().mean(0)


def random_change(decode: Decode, z: Tensor, seed: int = 0) -> Tensor:
    """What the generator changes along a random direction: knows the generator, not the direction.

    Args:
        decode: latents (N, *Z) -> images (N, C, *S), see `directions.effect`.
        z: where, (N, *Z).
        seed: of the direction, normal in each coordinate; one seed gives one direction for all z.

    Returns:
        (N, *S).
    """
    generator = torch.Generator().manual_seed(seed)
    return effect(decode, z, torch.randn(z.shape[1:], generator=generator).to(z))


def shuffled(maps: Tensor, seed: int = 0) -> Tensor:
    """Maps (K, N, *S) -> the same maps under labels that were drawn by lot, image by image.

    Each image has its own permutation of its K maps, so that K maps retrieve their directions with
    the accuracy of a guess, 1 / K on average, however good they are.

    Raises:
        ValueError: if the maps have no space.
    """
    if maps.ndim < 3:
        raise ValueError(f"expected maps (K, N, *S), got {tuple(maps.shape)}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(maps.shape[:2], generator=generator).argsort(0).to(maps.device)
    return maps[order, torch.arange(maps.shape[1], device=maps.device)]


def _shifted(x: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """The neighbour before, the value itself and the neighbour after, along an axis."""
    size = x.shape[axis]
    places = torch.arange(size, device=x.device)
    low = x.index_select(axis, (places - 1).clamp_min(0))
    high = x.index_select(axis, (places + 1).clamp_max(size - 1))
    return low, x, high


def _check(x: Tensor) -> None:
    if x.ndim < 3 or not x.is_floating_point():
        raise ValueError(
            f"expected floating-point images (N, C, *S), got {x.dtype} {tuple(x.shape)}"
        )
