"""Draws scenes of two objects on a textured ground from ten factors, with exact masks.

A pure function of the factors, in torch alone, differentiable in all of them but `shape`: a
generator whose truth is known, to test explanations with. Edges are antialiased from signed
distances (after Inigo Quilez, "2D distance functions"). The values of a scene do not depend on the
batch it is drawn in, bit for bit: all of it is arithmetic per element.

    shape      square, ellipse or heart: thirds of [0, 1]
    x, y       centre of object 1, left to right and top to bottom
    scale      size of object 1
    rotation   one period of the shape: a quarter turn (square), half (ellipse) or whole (heart)
    hue        colour of object 1, from red over green to violet
    x2, y2     centre of object 2, a ring behind object 1
    hue2       colour of object 2
    phase      one period of the ground's stripes
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SHAPES = ("square", "ellipse", "heart")
FACTORS = ("shape", "x", "y", "scale", "rotation", "hue", "x2", "y2", "hue2", "phase")

_RADIUS = (0.13, 0.24)  # smallest and largest object 1, around its corners; parts of the picture
_RING, _BAND = 0.105, 0.04  # middle radius and half width of object 2
_GAP = 0.02  # between an object and the border of the picture
_RIM = 0.016  # width of the darker edge that sets objects of one hue apart
_STRIPES = (((3.0, 2.0), 0.055, 1), ((-2.0, 5.0), 0.04, 2))  # waves along x and y, height, speed
_GROUND = ((0.13, 0.17, 0.27), (0.42, 0.38, 0.36))  # colours at the top and the bottom
_CHUNK = 32  # scenes drawn at a time: more would not fit the cache of a processor


class Rendered(NamedTuple):
    """A batch of scenes.

    Attributes:
        image: (N, 3, H, W) in [0, 1].
        masks: (N, 3, H, W), the visible share of each pixel: object 1, object 2, ground; their
            sum is 1.
    """

    image: Tensor
    masks: Tensor


def sample_factors(n: int, generator: torch.Generator) -> Tensor:
    """N -> factors (n, 10), uniform in [0, 1]. Fewer scenes are the first ones of more."""
    return torch.rand(n, len(FACTORS), generator=generator, device=generator.device)


def shape_index(factors: Tensor) -> Tensor:
    """Factors (N, 10) -> index into `SHAPES` (N,) int64."""
    return (factors[:, 0] * len(SHAPES)).long().clamp(0, len(SHAPES) - 1)


def render(factors: Tensor, size: int = 64) -> Rendered:
    """Draw scenes.

    Args:
        factors: (N, 10) in [0, 1], in the order of `FACTORS`; beyond, objects may
            leave the picture.
        size: height and width H = W.

    Returns:
        Images and masks, on the device and of the type of the factors.

    Raises:
        ValueError: the factors are no floats of shape (N, 10).
    """
    if factors.dim() != 2 or factors.shape[1] != len(FACTORS) or not factors.is_floating_point():
        raise ValueError(
            f"expected floating factors of shape (N, {len(FACTORS)}), got {factors.dtype} of"
            f" {tuple(factors.shape)}"
        )
    drawn = [_draw(chunk, size) for chunk in torch.split(factors, _CHUNK)]
    return Rendered(torch.cat([d.image for d in drawn]), torch.cat([d.masks for d in drawn]))


def factor_mask(factors: Tensor, name: str, size: int = 64) -> Tensor:
    """Where a factor acts: the visible pixels of what it belongs to.

    Args:
        factors: (N, 10).
        name: one of `FACTORS`.
        size: height and width.

    Returns:
        (N, H, W), the share of each pixel.

    Raises:
        ValueError: there is no such factor.
    """
    if name not in FACTORS:
        raise ValueError(f"expected a factor of {', '.join(FACTORS)}, got {name!r}")
    owner = 2 if name == "phase" else 1 if name.endswith("2") else 0
    return render(factors, size).masks[:, owner]


def _draw(factors: Tensor, size: int) -> Rendered:
    """Factors (N, 10) -> scenes."""
    column = dict(zip(FACTORS, factors[:, :, None, None].unbind(1), strict=True))  # each (N, 1, 1)
    first = _object_distance(column, shape_index(factors)[:, None, None], size)
    second = _ring_distance(column, size)
    front = _coverage(first)
    behind = _coverage(second) * (1 - front)
    masks = torch.stack([front, behind, 1 - front - behind], dim=1)
    image = (
        masks[:, :1] * _paint(column["hue"], first, size)
        + masks[:, 1:2] * _paint(column["hue2"], second, size)
        + masks[:, 2:] * _ground(column["phase"], size)
    )
    return Rendered(image, masks)


def _coverage(distance: Tensor) -> Tensor:
    """Signed distance in pixels, negative inside -> share of the pixel that is inside."""
    return (0.5 - distance).clamp(0, 1)


def _grid(like: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Pixel centres from 0 to 1: x (1, 1, W) and y (1, H, 1)."""
    centres = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size
    return centres[None, None, :], centres[None, :, None]


def _offsets(x: Tensor, y: Tensor, reach: float, size: int) -> tuple[Tensor, Tensor]:
    """Pixels seen from an object that never comes nearer than `reach` to the border."""
    columns, rows = _grid(x, size)
    margin = reach + _GAP
    return (
        columns - (margin + (1 - 2 * margin) * x),
        rows - (margin + (1 - 2 * margin) * y),
    )


def _object_distance(column: dict[str, Tensor], kind: Tensor, size: int) -> Tensor:
    """Signed distance of the pixels from object 1, in pixels: (N, H, W)."""
    low, high = _RADIUS
    u, v = _offsets(column["x"], column["y"], high, size)
    radius = low + (high - low) * column["scale"]
    period = torch.pi * torch.where(kind == 0, 0.5, torch.where(kind == 1, 1.0, 2.0))
    angle = column["rotation"] * period.to(radius)
    cosine, sine = angle.cos(), angle.sin()
    p, q = (cosine * u + sine * v) / radius, (cosine * v - sine * u) / radius
    distance = torch.where(
        kind == 0, _square(p, q), torch.where(kind == 1, _ellipse(p, q), _heart(p, q))
    )
    return distance * (radius * size)


def _ring_distance(column: dict[str, Tensor], size: int) -> Tensor:
    """Signed distance of the pixels from object 2, in pixels: (N, H, W)."""
    u, v = _offsets(column["x2"], column["y2"], _RING + _BAND, size)
    return ((_length(u, v) - _RING).abs() - _BAND) * size


def _length(p: Tensor, q: Tensor) -> Tensor:
    return (p * p + q * q + 1e-12).sqrt()  # the root of 0 has no gradient


def _square(p: Tensor, q: Tensor) -> Tensor:
    """Distance from the square in the unit circle."""
    return torch.maximum(p.abs(), q.abs()) - math.sqrt(0.5)


def _ellipse(p: Tensor, q: Tensor, ratio: float = 0.55) -> Tensor:
    """Distance, to first order at the edge, from the ellipse with the half axes 1 and `ratio`."""
    k = _length(p, q / ratio)
    return k * (k - 1) / _length(p, q / ratio**2)


def _heart(p: Tensor, q: Tensor) -> Tensor:
    """Distance from the heart in the unit circle, its tip downwards."""
    reach = 0.6306  # of Quilez's heart, from the centre of its surrounding circle
    a, b = p.abs() * reach, reach - q * reach
    lobe = _length(a - 0.25, b - 0.75) - math.sqrt(2) / 4
    side = 0.5 * (a + b).clamp(min=0)
    edge = torch.minimum(_length(a, b - 1), _length(a - side, b - side)) * (a - b).sign()
    return torch.where(a + b > 1, lobe, edge) / reach


def _paint(hue: Tensor, distance: Tensor, size: int) -> Tensor:
    """Colour of an object with a darker rim: hue (N, 1, 1), distance (N, H, W) -> (N, 3, H, W)."""
    turn = 6 * 0.8 * hue  # not the whole circle: 0 and 1 must not look alike
    wedge = [(turn + offset).remainder(6) for offset in (5, 3, 1)]
    colour = torch.stack([0.95 - 0.72 * torch.minimum(w, 4 - w).clamp(0, 1) for w in wedge], dim=1)
    shade = 0.6 + 0.4 * _coverage(distance + _RIM * size)
    return colour * shade[:, None]


def _ground(phase: Tensor, size: int) -> Tensor:
    """A still gradient with stripes that move with the phase: (N, 1, 1) -> (N, 3, H, W)."""
    columns, rows = _grid(phase, size)
    top, bottom = (torch.tensor(c, device=phase.device).to(phase).view(3, 1, 1) for c in _GROUND)
    ground = top + (bottom - top) * rows
    waves = torch.zeros((), device=phase.device, dtype=phase.dtype)
    for (along_x, along_y), height, speed in _STRIPES:
        # sin(place + phase) by the addition theorem: the sines of places are the same in all scenes
        place = 2 * torch.pi * (along_x * columns + along_y * rows)
        angle = 2 * torch.pi * speed * phase
        waves = waves + height * (place.sin() * angle.cos() + place.cos() * angle.sin())
    return ground + waves[:, None]
