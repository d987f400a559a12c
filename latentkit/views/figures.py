"""Drawn pictures: strips with names, cluster maps, colours.

Figures are built on `matplotlib.figure.Figure`, never on pyplot, so no global state is touched and
no display is needed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib import color_sequences, colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from latentkit.views.pixels import enlarged, grid, to_pil


def coloured(maps: Tensor, limits: tuple[float, float], colours: str = "viridis") -> Tensor:
    """Maps (N, H, W) in matplotlib's colours between fixed limits: (N, 3, H, W) in [0, 1]."""
    low, high = limits
    share = ((maps.float().cpu() - low) / (high - low)).nan_to_num(1.0).clamp(0, 1)
    table = torch.from_numpy(colormaps[colours](np.arange(256))[:, :3]).float()
    return table[(255 * share).round().long()].movedim(-1, 1)


def rendered(figure: Figure, dpi: int = 100) -> Tensor:
    """A matplotlib figure as an image (3, H, W) in [0, 1]."""
    canvas: Any = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    canvas.draw()
    pixels = torch.from_numpy(np.asarray(canvas.buffer_rgba()).copy())
    return pixels[..., :3].movedim(-1, 0).float() / 255


def labelled_rows(rows: Mapping[str, Tensor]) -> Figure:
    """Strips of images below each other, each with its name on the left.

    Args:
        rows: name -> images (T, C, H, W) in [0, 1].
    """
    strips = {name: grid(images, len(images)) for name, images in rows.items()}
    height, width = next(iter(strips.values())).shape[1:]
    figure = Figure(figsize=(10, 10 * height * len(strips) / width))
    for i, (name, strip) in enumerate(strips.items()):
        axes = figure.add_axes((0, 1 - (i + 1) / len(strips), 1, 1 / len(strips)))
        axes.imshow(to_pil(enlarged(strip, 1200)), aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=13, labelpad=8)
    return figure


def cluster_map(points: NDArray[np.float64], clusters: NDArray[Any], title: str) -> Figure:
    """Scatter of latents in two dimensions, coloured by cluster.

    Args:
        points: (N, 2).
        clusters: (N,) cluster of each point; -1 is noise, small and grey behind the others.
        title: of the picture; say how the two dimensions were made.
    """
    figure = Figure(figsize=(7, 6))
    axes = figure.add_subplot()
    colours = palette(int(clusters.max()) + 1)
    for k in np.unique(clusters):  # noise first, so behind
        x, y = points[clusters == k].T
        if k < 0:
            axes.scatter(x, y, s=3, color="0.75", label="noise", linewidths=0)
            continue
        axes.scatter(x, y, s=5, color=colours[k], label=str(k), linewidths=0)
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(
        title="cluster", markerscale=3, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    return figure


def palette(count: int) -> list[Any]:
    """Colours that the colour-blind can tell apart: Petroff's ten, or places of viridis for more.

    Petroff, "Accessible Color Sequences for Data Visualization", 2021 (arXiv 2107.02270).
    """
    if count <= 10:
        return list(color_sequences["petroff10"])[:count]
    return [colormaps["viridis"](i / (count - 1)) for i in range(count)]
