"""Two sides measured in turn within one process, so that a busy machine slows both."""

import statistics
import time
from collections.abc import Callable


def seconds(run: Callable[[], object]) -> float:
    """One call's time."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def paired(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> dict:
    """Milliseconds of both sides, and how many times theirs ours take.

    Who goes first alternates, since the second finds warmer caches.

    Args:
        ours: measures our side once, in seconds.
        theirs: measures the other.
        rounds: measurements of each.

    Returns:
        `ours_ms` and `theirs_ms`, medians over the rounds; `ratio`, the median of the rounds' own
        ratios, which a machine that changes between rounds does not move, and which is therefore
        not quite the quotient of the two medians; `ratio_min`, `ratio_max` and `rounds`.
    """
    pairs = []
    for i in range(rounds):
        taken = [side() for side in ((ours, theirs) if i % 2 else (theirs, ours))]
        pairs.append(taken if i % 2 else taken[::-1])
    ratios = sorted(a / b for a, b in pairs)
    a, b = (1000 * statistics.median(side) for side in zip(*pairs, strict=True))
    row = {"ours_ms": a, "theirs_ms": b, "ratio": statistics.median(ratios)}
    return row | {"ratio_min": ratios[0], "ratio_max": ratios[-1], "rounds": rounds}
