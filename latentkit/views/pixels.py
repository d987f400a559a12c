"""Pictures made of pixels alone: sheets of images, as tensors and as PIL images.

Apart from `figures.py`, so that a verb that draws no axes does without matplotlib.
"""

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

_HIGHEST = 8192  # pixels of an image whose own are repeated


def check_picture(images: Tensor) -> None:
    """Refuses images (..., C, H, W) that are neither grey nor coloured."""
    if images.shape[-3] not in {1, 3}:
        raise ValueError(
            f"expected images with 1 or 3 channels, got {images.shape[-3]}: they cannot be drawn"
        )


def to_pil(image: Tensor) -> Image.Image:
    """An image (C, H, W) in [0, 1], 1 or 3 channels, as a PIL image, pixel for pixel."""
    pixels = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    array = pixels.movedim(0, -1).numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def grid(images: Tensor, columns: int, gap: int = 2) -> Tensor:
    """Images (N, C, H, W) on a white-lined sheet, `columns` to a row: (3, H', W').

    As torchvision's `make_grid` draws it, but for its import, which takes longer than a sheet.
    """
    count, channels, height, width = images.shape
    columns = min(columns, count)
    blank = images.new_ones(-count % columns, channels, height, width)
    cells = torch.cat([images, blank]).float().cpu().expand(-1, max(channels, 3), -1, -1)
    cells = functional.pad(cells, (gap, 0, gap, 0), value=1.0)
    rows = cells.reshape(-1, columns, *cells.shape[1:]).permute(2, 0, 3, 1, 4)
    return functional.pad(rows.flatten(3, 4).flatten(1, 2), (0, gap, 0, gap), value=1.0)


def alternate(*kinds: Tensor, row: int = 8) -> Tensor:
    """Rows of each kind below each other: (N, C, H, W) for each of M kinds -> (M N, C, H, W).

    Where the last row is not full, blank images fill it.
    """
    blank = torch.ones(-len(kinds[0]) % row, *kinds[0].shape[1:])
    full = [torch.cat([x.cpu(), blank]) for x in kinds]
    groups = zip(*(torch.split(x, row) for x in full), strict=True)
    return torch.cat([part for group in groups for part in group])


def with_parents(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Puts the parents around a grid of their mixtures.

    Args:
        images: (R, K, C, H, W).
        rows: (R, C, H, W), to stand on the left.
        columns: (K, C, H, W), to stand on top.

    Returns:
        ((R + 1) * (K + 1), C, H, W), row by row; the corner is white.
    """
    top = torch.cat([torch.ones_like(columns[:1]), columns])[None]
    return torch.cat([top, torch.cat([rows[:, None], images], dim=1)]).flatten(0, 1)


def enlarged(image: Tensor, width: int = 640) -> Tensor:
    """Repeats the pixels of an image (C, H, W) that is narrower than `width`, to about that.

    A very high one stays as it is: a column of a thousand images would take gigabytes.
    """
    times = max(1, min(round(width / image.shape[-1]), _HIGHEST // image.shape[-2]))
    return image.repeat_interleave(times, -2).repeat_interleave(times, -1)
