"""What the pages of benchmarks are put together from: tables, means, goals, and the JSON's rows."""

import statistics
from collections.abc import Iterable
from typing import Any


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: list[float], digits: int = 3) -> str:
    """Mean and standard deviation, of one value the value."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def every(values: list[float], digits: int = 3) -> str:
    """All values, and their mean and standard deviation."""
    each = " ".join(f"{v:.{digits}f}" for v in values)
    return f"{each} (**{spread(values, digits)}**)"


def verdict(value: float, goal: float, least: bool = False) -> str:
    """Says whether a goal was met.

    Args:
        value: what was measured.
        goal: the most that it may be.
        least: the goal is the least that it may be, instead.
    """
    met = value >= goal if least else value <= goal
    return f"{'at least' if least else 'at most'} {goal:g}: {'met' if met else '**missed**'}"


def made_on(about: dict) -> str:
    """One line on the machine."""
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    cores, threads = about["cores"], about["threads"]
    return f"{about['processor']}, {cores} cores, {threads} threads of torch; {versions}."


def different(values: Iterable[Any]) -> list[Any]:
    """The values, each once, in their order."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
