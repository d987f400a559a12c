"""The direction atlas: a walk, its effect and its readings side by side, with colour bars."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from latentkit.views.pixels import check_picture

_QUESTIONS = {
    "effect": "effect: what the\ngenerator changes",
    "encoder reading": "where the\nencoder reads it",
    "discriminator reading": "what the discriminator's\nfeatures keep of it",
    "encoder use": "use: which part of the\nchange the encoder uses",
}

_GAP = 0.1  # between two cells, of the height of one
_BAR, _BAR_GAP = 0.09, 0.05  # a colour bar and the space before it, in inches
_BESIDE = 0.45  # what a column of maps needs for these and the bar's numbers, in inches
_LETTERS = 16  # of a label, on an inch
_LOWEST = 0.6  # inches of a row beside which a label still stands upright

Limits: TypeAlias = tuple[float, float]
"""The values at the two ends of a colour bar."""


@dataclass(frozen=True)
class AtlasRows:
    """What one atlas shows, row by row.

    Attributes:
        walks: (R, T, C, H, W) images along a direction.
        maps: by question, (R, *S), signed or not.
        limits: by question, of its colours, so that pictures can be compared; those of the rows
            shown where there are none.
    """

    walks: Tensor
    maps: Mapping[str, Tensor]
    limits: Mapping[str, Limits] = field(default_factory=dict)


def limits_of(maps: Tensor) -> Limits:
    """Limits that hold what is finite in maps (R, *S): around 0 if one is negative, else from 0."""
    finite = maps[maps.isfinite()]
    largest = float(finite.abs().max()) if len(finite) else 0.0
    largest = largest or 1.0
    return (-largest if bool((maps < 0).any()) else 0.0, largest)


def atlas(panel: AtlasRows, names: Sequence[str], title: str, notes: Sequence[str] = ()) -> Figure:
    """Draws a panel. All rows of a column share one scale, so they can be compared.

    Args:
        panel: what to show.
        names: of the rows.
        title: of the picture.
        notes: lines below it, for the measured numbers.
    """
    around = (0.4, 0.95 + 0.17 * len(notes))
    cell = _Cell.of(panel.walks, 1.25, around)
    figure = _figure(cell, title, panel.walks, panel.maps, panel.limits)
    walk = figure.axes[0]
    walk.set_title("walk along\nthe direction", fontsize=8)
    middles = [(1 + _GAP) * r + 0.5 for r in range(len(panel.walks))]
    upright = cell.height > _LOWEST
    short = [textwrap.fill(name, int(_LETTERS * cell.height)) for name in names if upright]
    labels, turn = (short, 90) if upright else (names, 0)
    walk.set_yticks(middles, labels, rotation=turn, va="center", ha="right", fontsize=8)
    walk.tick_params(length=0)
    if notes:
        figure.supxlabel("\n".join(notes), fontsize=8)
    return figure


def heatmaps(images: Tensor, maps: Mapping[str, Tensor], method: str) -> Figure:
    """Draws images with their signed heatmaps beside them, one column a score.

    Args:
        images: (N, C, H, W) in [0, 1].
        maps: by score, (N, *S).
        method: that made the maps.
    """
    title = f"where a network reads a score\n({method}; faithfulness not measured)"
    walks = images[:, None]
    return _figure(_Cell.of(walks, 1.5, (0.2, 0.9)), title, walks, maps, {})


def check_walks(walks: Tensor) -> None:
    """Raise ValueError unless walks (R, T, ...) are of grey or coloured images (C, H, W)."""
    if walks.ndim != 5:
        raise ValueError(
            f"expected images (C, H, W) to draw, got values of shape {tuple(walks.shape[2:])}"
        )
    check_picture(walks)


@dataclass(frozen=True)
class _Cell:
    """How large the cell of an image is, and what surrounds all cells.

    Attributes:
        width: of the cell, in heights of it; all that is drawn is measured in these.
        height: of the cell, in inches; cells of all shapes have the same area.
        around: width and height that labels and titles need, in inches.
    """

    width: float
    height: float
    around: tuple[float, float]

    @classmethod
    def of(cls, images: Tensor, side: float, around: tuple[float, float]) -> "_Cell":
        """The cell for images (R, T, C, H, W), as large as a square whose sides have these inches.

        Raises:
            ValueError: they are no grey or coloured images.
        """
        check_walks(images)
        width = images.shape[-1] / images.shape[-2]
        return cls(width, side / sqrt(width), around)

    @property
    def column(self) -> float:
        """The width of a column of maps: not narrower than its title."""
        return max(self.width, sqrt(self.width))


def _figure(
    cell: _Cell,
    title: str,
    images: Tensor,
    maps: Mapping[str, Tensor],
    limits: Mapping[str, Limits],
) -> Figure:
    """Images (R, T, C, H, W) in [0, 1], and a column with a colour bar for each kind of map.

    All images stand in one pair of axes, and all maps of a kind: Matplotlib needs a hundredth of
    a second for each pair, and pictures have dozens of cells.
    """
    rows, frames, channels = images.shape[:3]
    ratios = [cell.width * frames + _GAP * (frames - 1), *[cell.column] * len(maps)]
    tall = rows + _GAP * (rows - 1)
    around = np.add(cell.around, (_BESIDE * len(maps), 0))
    inches = np.multiply(cell.height, (sum(ratios), tall)) + around
    figure = Figure(figsize=tuple(inches), layout="constrained")
    figure.suppressComposite = True  # or a .svg would have one image of all cells
    figure.suptitle(title, fontsize=11)
    first, *others = figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
    pixels = images.clamp(0, 1).movedim(2, -1).numpy()
    pixels = pixels[..., 0] if channels == 1 else pixels
    _draw_cells(first, pixels, cell.width, ("gray", 0.0, 1.0))
    for axes, (question, values) in zip(others, maps.items(), strict=True):
        low, high = limits.get(question) or limits_of(values)
        colours = "RdBu_r" if low < 0 else "viridis"
        shown = _draw_cells(axes, values.numpy()[:, None], cell.width, (colours, low, high))
        margin = (cell.column - cell.width) / 2
        axes.set_xlim(-margin, cell.width + margin)
        axes.set_title(_QUESTIONS.get(question, question), fontsize=8)
        _draw_bar(axes, shown, cell, rows)
    return figure


def _draw_bar(axes: Axes, shown: AxesImage, cell: _Cell, rows: int) -> None:
    """The colour bar, right of the cells and at most two of them long."""
    long = min(1.0, 2 / rows)
    inch = 1 / (cell.height * cell.column)  # as a share of the axes
    left = (cell.column + cell.width) / 2 / cell.column + _BAR_GAP * inch
    bar = axes.inset_axes((left, (1 - long) / 2, _BAR * inch, long))
    axes.figure.colorbar(shown, cax=bar).ax.tick_params(labelsize=6)


def _draw_cells(
    axes: Axes, pictures: NDArray[Any], width: float, colours: tuple[str, float, float]
) -> AxesImage:
    """Draws pictures (R, T, ...) in rows and columns of cells that are 1 high; gives the last."""
    name, low, high = colours
    step = width + _GAP
    for r, t in np.ndindex(pictures.shape[:2]):
        x, y = step * t, (1 + _GAP) * r
        shown = axes.imshow(
            pictures[r, t], cmap=name, vmin=low, vmax=high, extent=(x, x + width, y + 1, y)
        )
        axes.add_patch(Rectangle((x, y), width, 1, fill=False, linewidth=0.8, clip_on=False))
    rows, columns = pictures.shape[:2]
    axes.set(xlim=(0, step * columns - _GAP), ylim=((1 + _GAP) * rows - _GAP, 0))
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    return shown
