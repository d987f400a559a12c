"""One self-contained page about several runs side by side."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader
from torch import Tensor

from latentkit.store import versions
from latentkit.views.pixels import alternate, enlarged, grid, to_pil
from latentkit.views.report.numbers import Row, about_intervals, rows, text
from latentkit.views.report.pictures import address

_COLUMNS = 8


@dataclass(frozen=True)
class Side:
    """One of the runs.

    Attributes:
        name: as the user gave it.
        fingerprint: of its model.
        numbers: that `latentkit evaluate` found.
        settings: that they depend on.
        images: (N, C, H, W), the same for all runs.
        samples: (N, C, H, W) from the same seed; None without a prior.
        rebuilt: reconstructions of the images; None without an encoder.
        failed: a sentence for everything that could not be done.
    """

    name: str
    fingerprint: str
    numbers: Mapping[str, Any]
    settings: Mapping[str, Any]
    images: Tensor
    samples: Tensor | None
    rebuilt: Tensor | None
    failed: Sequence[str] = ()


def comparison(
    sides: Sequence[Side],
    alike: Mapping[str, Mapping[str, float]],
    settings: Mapping[str, Any],
) -> str:
    """Builds the page.

    Args:
        sides: the runs.
        alike: for each pair of runs that encode, how alike their latent spaces are.
        settings: of the comparison.
    """
    environment = Environment(
        loader=PackageLoader("latentkit.views.report", "."), autoescape=True, trim_blocks=True
    )
    tables = [rows(s.numbers) for s in sides]
    drawn = {
        "sides": sides,
        "table": beside(tables),
        "about_intervals": about_intervals([row for table in tables for row in table]),
        "pictures": [
            {
                "name": s.name,
                "samples": s.samples is not None and _png(grid(s.samples, _COLUMNS)),
                "rebuilt": s.rebuilt is not None
                and _png(grid(alternate(s.images, s.rebuilt), _COLUMNS)),
            }
            for s in sides
        ],
        "alike": alike,
        "how": [
            {"name": s.name, "settings": "; ".join(f"{k} {text(v)}" for k, v in s.settings.items())}
            for s in sides
        ],
        "images": settings["images"],
        "versions": versions(),
    }
    return environment.get_template("compare.html").render(drawn)


def beside(tables: Sequence[Sequence[Row]]) -> list[tuple[str, list[Row | None]]]:
    """Name -> the row of each table, None where it has none; in the order of their appearance."""
    names = dict.fromkeys(row.name for table in tables for row in table)
    found = [{row.name: row for row in table} for table in tables]
    return [(name, [table.get(name) for table in found]) for name in names]


def _png(picture: Tensor) -> str:
    """The address of a sheet (3, H, W), as a PNG inside the page."""
    buffer = io.BytesIO()
    to_pil(enlarged(picture.clamp(0, 1), 480)).save(buffer, format="PNG")
    return address(buffer.getvalue(), "png")
