"""Training curves as SVG that takes its colours from the page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

_WIDTH, _HEIGHT, _MOST = 300.0, 110.0, 300  # of the drawing; points of a curve
_NONE = {"epoch", "hp_metric"}


@dataclass(frozen=True)
class Curve:
    """One logged number over the iterations.

    Attributes:
        name: its tag.
        path: the `d` of an SVG path in a box of 300 x 110, one piece for each run of finite values.
        last: the latest value.
        low: the least finite value, at the bottom of the box.
        high: the largest, at its top.
        first_step: where it begins, on the left.
        last_step: where it ends, on the right.
    """

    name: str
    path: str
    last: float
    low: float
    high: float
    first_step: int
    last_step: int


def curves(run: Path) -> list[Curve]:
    """Every scalar in a run's event files; those that were logged once are no curve."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    tags = [t for t in events.Tags()["scalars"] if t not in _NONE]
    return list(_drawn(events, tags))


def _drawn(events: EventAccumulator, tags: Sequence[str]) -> Iterator[Curve]:
    for tag in tags:
        points = [(p.step, p.value) for p in events.Scalars(tag)]
        if len(points) > 1:
            found = drawn(tag, points)
            if found is not None:
                yield found


def drawn(name: str, points: Sequence[tuple[int, float]]) -> Curve | None:
    """The curve through points (step, value); None if no value is finite."""
    values = [v for _, v in points if isfinite(v)]
    if not values:
        return None
    low, high, points = min(values), max(values), _thinned(points)
    start, end = points[0][0], points[-1][0]
    parts, move = [], "M"
    for step, value in points:
        if not isfinite(value):
            move = "M"
            continue
        x = _WIDTH * (step - start) / max(end - start, 1)
        y = _HEIGHT * (1 - (value - low) / (high - low)) if high > low else _HEIGHT / 2
        parts.append(f"{move}{x:.1f} {y:.1f}")
        move = "L"
    return Curve(name, "".join(parts), points[-1][1], low, high, start, end)


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Of many points in a row the least and the largest, so that no spike is lost; and the last."""
    size = -(-2 * len(points) // _MOST)
    if size < 3:
        return list(points)
    kept = []
    for start in range(0, len(points) - 1, size):
        some = points[start : min(start + size, len(points) - 1)]
        kept += sorted({min(some, key=_finite), max(some, key=_finite)})
    return [*kept, points[-1]]


def _finite(point: tuple[int, float]) -> float:
    return point[1] if isfinite(point[1]) else 0.0
