"""Heatmaps as pictures: colours, and overlays that never rescale the image beneath.

An overlay is clear where the map is zero, so that there the image is what it was, bit for bit. Both
colour tables were laid out in CIE Lab at equal steps of difference: `diverging`, blue below zero
and red above, both equally dark; and `sequential`, for sizes, which gets lighter all the way. With
neither must red be told from green.
"""

import math
from typing import Literal, TypeAlias

import torch
from PIL import Image
from torch import Tensor

from latentkit.explain.heatmap import Heatmap

Palette: TypeAlias = Literal["diverging", "sequential"]

_TABLES = {
    "diverging": "0553a9 5d75ba 8f9acb bec2db ebebeb e3baaf d48a76 bf5940 a5200b",
    "sequential": "0f112b 351c57 6e287f a4397a cb516e e47261 f59654 ffc66e fdf3a3",
}


def colours(
    heatmap: Heatmap,
    palette: Palette = "diverging",
    per: Literal["image", "batch"] = "image",
    limit: float | None = None,
) -> Tensor:
    """The map itself in colours, on the map's device.

    Args:
        heatmap: (N, *S).
        palette: "diverging" for raw signed maps; "sequential" for their absolute value, or what
            raises the score, after `heatmap.relu()`.
        per: colours end at the largest value of each image, or of the batch, to compare images.
        limit: where colours end instead, to compare batches; larger values are drawn like it.

    Returns:
        (N, 3, *S) float32 in [0, 1]. Degenerate maps have the colour of zero.

    Raises:
        ValueError: an unknown palette or per, or a limit that is not finite and above 0.
    """
    return _look_up(_values(heatmap, per, limit), palette)


def overlay(
    heatmap: Heatmap,
    images: Tensor,
    palette: Palette = "diverging",
    per: Literal["image", "batch"] = "image",
    limit: float | None = None,
    opacity: float = 0.8,
) -> Tensor:
    """The map in colours over images, the more opaque the larger its values.

    Args:
        heatmap: (N, *S_layer); it is resized to the images.
        images: (N, C, *S) in [0, 1], of one (grey), three (RGB) or four (RGBA, put on white)
            channels. They are shown as they are: dim images stay dim.
        palette: see `colours`.
        per: see `colours`.
        limit: see `colours`.
        opacity: of the colour at the limit, in [0, 1].

    Returns:
        (N, 3, *S) float32 in [0, 1], on the images' device.

    Raises:
        ValueError: images that do not fit the heatmap or are not floats in [0, 1], an opacity
            outside [0, 1]; or as `colours` does.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"expected an opacity in [0, 1], got {opacity}")
    base = _rgb(images, heatmap)
    values = _values(heatmap.resized(images.shape[2:]), per, limit).to(base.device)
    # Zero leaves the image exactly: start + 0 * (end - start).
    return torch.lerp(base, _look_up(values, palette), opacity * values.abs()[:, None]).clamp(0, 1)


def pictures(coloured: Tensor) -> Tensor:
    """Colours (N, 3, *S) of any rank -> (N, 3, H, W), as TensorBoard's `add_images` takes them.

    Signals become bands, volumes a row of all their slices, first axis from left to right.

    Raises:
        ValueError: colours of a rank above 3.
    """
    if coloured.ndim == 3:
        length = coloured.shape[2]
        return coloured[:, :, None].expand(-1, -1, max(8, length // 8), -1)
    if coloured.ndim == 4:
        return coloured
    if coloured.ndim == 5:
        return coloured.movedim(2, 3).flatten(3)
    raise ValueError(f"expected colours (N, 3, *S) of rank 1 to 3, got {tuple(coloured.shape)}")


def to_pil(coloured: Tensor) -> list[Image.Image]:
    """Colours (N, 3, *S) in [0, 1] -> N images of 8 bits, laid out as by `pictures`.

    Raises:
        ValueError: as `pictures` does.
    """
    levels = (pictures(coloured) * 255).round().to(torch.uint8).movedim(1, -1).cpu().numpy()
    return [Image.fromarray(level) for level in levels]


def _values(heatmap: Heatmap, per: Literal["image", "batch"], limit: float | None) -> Tensor:
    """(N, *S) in [-1, 1]."""
    if limit is None:
        return heatmap.signed(per)
    if not 0 < limit < math.inf:
        raise ValueError(f"expected a finite limit above 0, got {limit}")
    own = heatmap.limits("batch") / limit
    return (heatmap.signed("batch") * own.view(-1, *[1] * (heatmap.raw.ndim - 1))).clamp(-1, 1)


def _look_up(values: Tensor, palette: Palette) -> Tensor:
    """(N, *S) in [-1, 1] -> (N, 3, *S)."""
    if palette not in _TABLES:
        raise ValueError(f"expected palette 'diverging' or 'sequential', got {palette!r}")
    rows = [list(bytes.fromhex(colour)) for colour in _TABLES[palette].split()]
    table = torch.tensor(rows, dtype=torch.float32, device=values.device) / 255
    place = (values + 1) / 2 if palette == "diverging" else values.abs()
    place = place * (len(table) - 1)
    below = place.long().clamp_max(len(table) - 2)
    found = torch.lerp(table[below], table[below + 1], (place - below)[..., None])
    return found.movedim(-1, 1)


def _rgb(images: Tensor, heatmap: Heatmap) -> Tensor:
    """(N, 1, 3 or 4, *S) -> (N, 3, *S) float32, with not a value changed but where transparent."""
    n, rank = len(heatmap.raw), heatmap.raw.ndim - 1
    if images.ndim != rank + 2 or len(images) != n or images.shape[1] not in (1, 3, 4):
        raise ValueError(
            f"expected {n} images ({n}, 1, 3 or 4, *S) with {rank} dimensions of space, as the"
            f" heatmap has, got {tuple(images.shape)}"
        )
    if not images.is_floating_point() or not ((images >= 0) & (images <= 1)).all():
        raise ValueError(
            f"expected images as floats in [0, 1], got {images.dtype} from"
            f" {images.min().item():g} to {images.max().item():g}; divide bytes by 255"
        )
    images = images.detach().float()
    if images.shape[1] == 4:
        opaque = images[:, 3:]
        return images[:, :3] * opaque + (1 - opaque)
    return images.expand(-1, 3, *images.shape[2:])
