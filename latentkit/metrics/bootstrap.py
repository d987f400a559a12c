"""How far would a number move with other samples of the same kind? Percentile bootstrap, jackknife.

Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_CHUNK = 2**24  # counts held at a time


def interval(values: npt.NDArray[Any], level: float = 0.95) -> tuple[float, float]:
    """The middle share of the values that a statistic took on resamples.

    Args:
        values: (B,) the statistic on B resamples.
        level: the share, in (0, 1).

    Returns:
        The lower and the upper end, in the statistic's unit.

    Raises:
        ValueError: if there are no values or the level is no share.

    >>> interval(np.arange(101), level=0.5)
    (25.0, 75.0)
    """
    if np.ndim(values) != 1 or len(values) == 0 or not 0 < level < 1:
        raise ValueError(
            f"expected values (B,) and a level between 0 and 1, got {np.shape(values)} and {level}"
        )
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def multinomial(
    counts: npt.NDArray[np.int64], resamples: int, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Counts of resamples: to draw samples with replacement is to draw their cells.

    Args:
        counts: (...) samples in each cell, at least one in all.
        resamples: B >= 1.
        seed: of the draws.

    Returns:
        (B, ...), each with the total of `counts`.

    Raises:
        ValueError: if there is no sample or no resample.
    """
    total = int(counts.sum())
    if total < 1 or resamples < 1:
        raise ValueError(f"expected samples and resamples, got {total} and {resamples}")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(total, counts.ravel() / total, size=resamples)
    return drawn.reshape(resamples, *counts.shape)


def jackknife(
    counts: npt.NDArray[np.int64], score: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> tuple[float, float]:
    """A score of counts without its bias, and its standard error, by leaving out one sample each.

    Quenouille, "Notes on bias in estimation", Biometrika 1956; Tukey's variance. For scores that
    are smooth in the counts, which a maximum is not.

    Args:
        counts: (...) samples in each cell, at least two in all.
        score: (B, ...) tables of counts -> (B,).

    Returns:
        The corrected score, which may be out of the score's range, and its standard error.

    Raises:
        ValueError: if there are fewer than two samples.
    """
    flat, total = counts.ravel(), int(counts.sum())
    if total < 2:
        raise ValueError(f"expected two samples or more, got {total}")
    cells = flat.nonzero()[0]
    rows = max(1, _CHUNK // flat.size)
    parts = [
        score(_one_less(flat, cells[start : start + rows]).reshape(-1, *counts.shape))
        for start in range(0, len(cells), rows)
    ]
    values, share = np.concatenate(parts), flat[cells] / total
    mean = share @ values
    error = np.sqrt((total - 1) * (share @ (values - mean) ** 2))
    return float(total * score(counts[None])[0] - (total - 1) * mean), float(error)


def _one_less(flat: npt.NDArray[np.int64], cells: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """(M,) counts and B of their places -> (B, M), each with one sample of its cell left out."""
    left = np.tile(flat, (len(cells), 1))
    left[np.arange(len(cells)), cells] -= 1
    return left


def averaged(name: str, values: Tensor, seed: int = 0) -> dict[str, Any]:
    """The mean of independent values under a name, and its interval as `<name>_ci95`.

    There is no interval where resamples cannot tell how far the mean would move: of fewer than two
    values, of values that are all alike, or of such that are no numbers.

    Args:
        name: of the mean.
        values: (N,) one for each sample, N >= 1.
        seed: of the resamples.

    >>> averaged("mse", torch.tensor([1.0, 1.0]))
    {'mse': 1.0}
    """
    found: dict[str, Any] = {name: values.double().mean().item()}
    if values.isfinite().all() and (values != values[0]).any():
        found[f"{name}_ci95"] = list(mean_interval(values, seed=seed))
    return found


def share_interval(values: Tensor) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, which says something where all or none are right too.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    Args:
        values: (N,) of 0 and 1, N >= 1.

    Returns:
        The lower and the upper end.

    >>> [round(end, 2) for end in share_interval(torch.ones(10))]
    [0.72, 1.0]
    """
    return wilson(float(values.double().mean()), len(values))


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share seen in n trials, in [0, 1].

    Args:
        share: in [0, 1]; of n trials that are means themselves it need not be a whole number of n.
        n: trials, >= 1.
        z: standard deviations to each side; 1.96 for 95 %.

    Returns:
        The lower and the upper end.

    >>> [round(end, 3) for end in wilson(0.5, 100)]
    [0.404, 0.596]
    """
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Where none or all are right an end is the share itself, which rounding would leave out.
    low, high = min(centre - half, share), max(centre + half, share)
    return max(0.0, low), min(1.0, high)


def mean_interval(values: Tensor, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of independent values.

    Args:
        values: (N,) one for each sample, finite.
        resamples: B >= 1.
        seed: of the draws.

    Returns:
        The lower and the upper end, in the unit of the values.

    Raises:
        ValueError: if the values are not flat, not finite or none, or there is no resample.
    """
    if values.ndim != 1 or len(values) == 0 or not values.isfinite().all():
        raise ValueError(f"expected finite values (N,), got {tuple(values.shape)}")
    if resamples < 1:
        raise ValueError(f"expected resamples of 1 or more, got {resamples}")
    flat = values.detach().to("cpu", torch.float64).numpy()
    rows = max(1, _CHUNK // len(flat))
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    seeds = np.random.SeedSequence(seed).generate_state(len(sizes))
    ones = np.ones(len(flat), np.int64)
    parts = [multinomial(ones, size, int(s)) @ flat for size, s in zip(sizes, seeds, strict=True)]
    return interval(np.concatenate(parts) / len(flat))
