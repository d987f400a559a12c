"""Sheets of images with a name for every row and column."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from latentkit.views.pixels import check_picture, grid

_CELL = 1.15  # inches of an image
_GAP = 2  # pixels between images


def sheet(
    images: Tensor, rows: Sequence[str], columns: Sequence[str], title: str, notes: Sequence[str]
) -> Figure:
    """Draws images with the names of their rows on the left and of their columns above.

    Args:
        images: (R, K, C, H, W) in [0, 1], 1 or 3 channels.
        rows: R names.
        columns: K names.
        title: of the picture.
        notes: lines below it, for the measured numbers.

    Raises:
        ValueError: there are not as many names as rows and columns, or the images cannot be drawn.
    """
    count, width = images.shape[:2]
    if len(rows) != count or len(columns) != width:
        raise ValueError(
            f"expected {count} row names and {width} column names, got {len(rows)} and "
            f"{len(columns)}"
        )
    check_picture(images)
    size = (max(_CELL * width + 1.2, 5), _CELL * count + 0.8 + 0.2 * len(notes))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.add_subplot()
    pixels = grid(images.flatten(0, 1).clamp(0, 1), width, _GAP).movedim(0, -1).numpy()
    axes.imshow(pixels, interpolation="nearest")
    height, breadth = (side + _GAP for side in images.shape[-2:])
    axes.set_xticks([_GAP / 2 + breadth * (k + 0.5) for k in range(width)], columns, fontsize=8)
    axes.set_yticks([_GAP / 2 + height * (k + 0.5) for k in range(count)], rows, fontsize=8)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    if notes:
        figure.supxlabel("\n".join(notes), fontsize=8)
    return figure
