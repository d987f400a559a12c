"""The direction atlas: a walk, its effect and its readings side by side, with colour bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.views.pixels import check_picture

_QUESTIONS = {
    "effect": "effect: what the\ngenerator changes",
    "encoder reading": "where the\nencoder reads it",
    "discriminator reading": "what the discriminator's\nfeatures keep of it",
    "encoder use": "use: which part of the\nchange the encoder uses",
}

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
    rows, frames = panel.walks.shape[:2]
    columns = frames + len(panel.maps)
    height = 1.25 * rows + 0.9 + 0.22 * len(notes)
    figure = Figure(figsize=(1.25 * columns + 1.2, height), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    for r in range(rows):
        for t in range(frames):
            show_image(grid[r][t], panel.walks[r, t])
        grid[r][0].set_ylabel(names[r], fontsize=8)
    grid[0][frames // 2].set_title("walk along the direction", fontsize=8)
    for c, (question, maps) in enumerate(panel.maps.items(), start=frames):
        limits = panel.limits.get(question) or limits_of(maps)
        _draw_column(figure, [grid[r][c] for r in range(rows)], question, maps, limits)
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
    rows, columns = len(images), 1 + len(maps)
    figure = Figure(figsize=(1.6 * columns + 0.8, 1.5 * rows + 0.8), layout="constrained")
    figure.suptitle(
        f"where a network reads a score ({method}; faithfulness not measured)", fontsize=10
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for r in range(rows):
        show_image(grid[r][0], images[r])
    for c, (name, signed) in enumerate(maps.items(), start=1):
        _draw_column(figure, [grid[r][c] for r in range(rows)], name, signed, limits_of(signed))
    return figure


def _draw_column(
    figure: Figure, column: Sequence[Axes], question: str, maps: Tensor, limits: Limits
) -> None:
    """Draws one kind of map for every row, on one scale, with one colour bar."""
    low, high = limits
    colours = "RdBu_r" if low < 0 else "viridis"
    for axes, values in zip(column, maps, strict=True):
        picture = axes.imshow(values.numpy(), cmap=colours, vmin=low, vmax=high)
        _bare(axes)
    column[0].set_title(_QUESTIONS.get(question, question), fontsize=8)
    figure.colorbar(picture, ax=list(column), fraction=0.08, pad=0.02).ax.tick_params(labelsize=6)


def show_image(axes: Axes, image: Tensor) -> None:
    """Draws one image (C, H, W) in [0, 1], 1 or 3 channels."""
    check_picture(image)
    pixels = image.clamp(0, 1).movedim(0, -1).numpy()
    axes.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
