"""DirBench as a picture: the retrieval of every reading with its interval."""

import math
from collections.abc import Mapping

from matplotlib.figure import Figure

from latentkit.explain.dirbench import Row

_BAR, _GUESS = "#3b6ea5", "#b5b5b5"
_COLUMNS = 4


def retrieval_chart(tables: Mapping[str, Mapping[str, Row]]) -> Figure:
    """Bars of direction retrieval with 95 % intervals, one panel a table, readings from the top.

    Up to four panels stand in a row.

    Args:
        tables: by title, the rows by name of the reading.
    """
    longest = max(len(rows) for rows in tables.values())
    columns = min(_COLUMNS, len(tables))
    lines = math.ceil(len(tables) / columns)
    size = (6.5 * columns, lines * (0.26 * longest + 1.2))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).flatten()
    for unused in grid[len(tables) :]:
        unused.remove()
    for axes, (title, rows) in zip(grid, tables.items(), strict=False):
        found = [row["retrieval"] for row in rows.values()]
        means = [m.mean for m in found]
        errors = [[m.mean - m.low for m in found], [m.high - m.mean for m in found]]
        places = range(len(found))
        colours = [
            _GUESS if "random weights" in n or m == 0 else _BAR
            for n, m in zip(rows, means, strict=True)
        ]
        axes.barh(places, means, xerr=errors, color=colours, error_kw={"lw": 1})
        axes.set_yticks(places, list(rows), fontsize=7)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("direction retrieval (95 %)", fontsize=8)
        axes.set_title(title, fontsize=9)
    return figure
