"""Numbers as rows of a table: a value, and its interval where there is one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_INTERVAL = "_ci95"
_WORDS = {
    "_corrected": "Few images flatter ACC, purity, NMI and ARI. Their intervals hold the corrected "
    "score, so they stand beside it and may lie below the plain one.",
    "frechet_": "A Frechet distance has no interval: a resample repeats images, which makes the "
    "distance larger.",
    "density_": "The intervals of precision and density are over generated images, those of recall "
    "and coverage over real ones, in the same neighbourhoods.",
}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: what was measured.
        value: as text.
        interval: of 95 %, as text; empty if there is none.
    """

    name: str
    value: str
    interval: str


def rows(numbers: Mapping[str, Any]) -> list[Row]:
    """Nested numbers as lines; `x_ci95` stands beside `x`."""
    flat = dict(_flat(numbers))
    found = []
    for name, value in flat.items():
        if name.endswith(_INTERVAL) and name.removesuffix(_INTERVAL) in flat:
            continue
        ends = flat.get(name + _INTERVAL)
        interval = f"{text(ends[0])} to {text(ends[1])}" if isinstance(ends, list) else ""
        found.append(Row(name, text(value), interval))
    return found


def about_intervals(lines: Sequence[Row]) -> list[str]:
    """What the intervals of these numbers are of, and why some have none; in sentences."""
    if not any(row.interval for row in lines):
        return []
    said = [words for part, words in _WORDS.items() if any(part in row.name for row in lines)]
    return [*said, "Counts, lists and numbers of a single fit have no interval."]


def text(value: object) -> str:
    """A number with four digits, a list of them, or anything else as it is."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        shown = ", ".join(map(text, value[:16]))
        return shown + (f", ... ({len(value)} in all)" if len(value) > 16 else "")
    return str(value)


def _flat(numbers: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}: ")
        else:
            yield prefix + name, value
