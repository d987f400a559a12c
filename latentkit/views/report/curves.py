"""Training curves as SVG that takes its colours from the page."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ScalarEvent

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
    try:
        events.Reload()
        tags = [t for t in events.Tags()["scalars"] if t not in _NONE]
        return list(_drawn(events, tags))
    except Exception as error:  # TensorBoard raises a different type for each kind of damage
        raise ValueError(f"the event files in {run} are damaged: {error!r}") from error


def _drawn(events: EventAccumulator, tags: Sequence[str]) -> Iterator[Curve]:
    for tag in tags:
        points = _written_last(events.Scalars(tag))
        if len(points) > 1:
            found = drawn(tag, points)
            if found is not None:
                yield found


def _written_last(events: Iterable[ScalarEvent]) -> list[tuple[int, float]]:
    """Points (step, value) by step: a run that resumes at an earlier step drops what it lost."""
    found: list[tuple[int, float]] = []
    for event in sorted(events, key=lambda e: e.wall_time):
        while found and found[-1][0] >= event.step:
            found.pop()
        found.append((event.step, event.value))
    return found


def drawn(name: str, points: Sequence[tuple[int, float]]) -> Curve | None:
    """The curve through points (step, value); None if no value is finite."""
    values = [v for _, v in points if isfinite(v)]
    if not values:
        return None
    low, high, points = min(values), max(values), _thinned(points)
    start, end = points[0][0], points[-1][0]
    places = []
    for step, value in points:
        x = _WIDTH * (step - start) / max(end - start, 1)
        y = _HEIGHT * (1 - (value - low) / (high - low)) if high > low else _HEIGHT / 2
        places.append(f"{x:.1f} {y:.1f}" if isfinite(value) else "")
    pieces = [list(piece) for whole, piece in groupby(places, key=bool) if whole]
    path = "".join(_piece(piece) for piece in pieces)
    return Curve(name, path, points[-1][1], low, high, start, end)


def _piece(places: Sequence[str]) -> str:
    """The path through places; one alone has a line of no length, which round caps show."""
    return "M" + "L".join(places) + ("h0" if len(places) == 1 else "")


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Of many points in a row the least, the largest and a gap, so that none is lost; the last."""
    size = -(-2 * len(points) // _MOST)
    if size < 3:
        return list(points)
    kept = []
    for start in range(0, len(points) - 1, size):
        some = points[start : min(start + size, len(points) - 1)]
        finite = sorted((p for p in some if isfinite(p[1])), key=lambda p: p[1])
        gaps = [p for p in some if not isfinite(p[1])]
        kept += sorted({*finite[:1], *finite[-1:], *gaps[:1]})
    return [*kept, points[-1]]
