"""Which clusters and attributes does a step along a direction move? With intervals, and by test.

A direction changes what is read of each image by another amount. What moves is said of the mean
over images: Student's interval and paired test (Student, "The probable error of a mean",
Biometrika 1908), with Holm's correction for the number of things that were looked at ("A simple
sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import t as student
from torch import Tensor

_ROUNDINGS = 100  # differences of less, in units of the precision of the scores, are none


@dataclass(frozen=True)
class Move:
    """How far a step moves one score.

    Attributes:
        name: of the cluster or attribute.
        change: mean over images of the score after minus the score before, in the score's unit.
        interval: its 95 % interval over images, for this score alone.
        p: of no mean change, Holm-adjusted for all scores that were compared.
        moves: whether p is 0.05 or less.
    """

    name: str
    change: float
    interval: tuple[float, float]
    p: float
    moves: bool


def moves(names: Sequence[str], before: Tensor, after: Tensor) -> list[Move]:
    """Compares scores of the same images before and after a step.

    Images must be independent of each other. That none of the scores that do not move is said to
    move has a probability of 95 % or more, whichever do; nearly so where changes are far from
    normal and images few. Other directions are not corrected for.

    Args:
        names: of the A scores.
        before: (N, A), N >= 2, such as those of decode(z - d).
        after: (N, A), such as those of decode(z + d).

    Returns:
        One `Move` a score, in the order given.

    Raises:
        ValueError: if the shapes do not fit, or a score is not finite.
    """
    if before.shape != after.shape or before.ndim != 2 or before.shape[1] != len(names):
        raise ValueError(
            f"expected scores (N, {len(names)}) twice, one column a name, got"
            f" {tuple(before.shape)} and {tuple(after.shape)}"
        )
    if len(before) < 2 or not (before.isfinite().all() and after.isfinite().all()):
        raise ValueError(f"expected finite scores of two images or more, got {len(before)}")
    change = _change(before, after)
    mean = change.mean(0)
    error = change.std(0, ddof=1) / np.sqrt(len(change))
    half = student.ppf(0.975, len(change) - 1) * error
    p = holm(_p(mean, error, len(change) - 1))
    return [
        Move(name, float(m), (float(m - h), float(m + h)), float(q), bool(q <= 0.05))
        for name, m, h, q in zip(names, mean, half, p, strict=True)
    ]


def holm(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """P-values (A,) -> adjusted ones (A,): to reject those of 0.05 or less errs once in 20 times.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p)
    left = len(p) - np.arange(len(p))
    raised = np.maximum.accumulate(p[order] * left).clip(max=1.0)
    adjusted = np.empty_like(raised)
    adjusted[order] = raised
    return adjusted


def _change(before: Tensor, after: Tensor) -> npt.NDArray[np.float64]:
    """After minus before (N, A), 0 where that is rounding."""
    scale = torch.maximum(before.abs(), after.abs()).amax(0)
    change = after - before
    noise = _ROUNDINGS * torch.finfo(change.dtype).eps * scale
    kept: npt.NDArray[np.float64] = change.where(change.abs() > noise, 0.0).double().cpu().numpy()
    return kept


def _p(
    mean: npt.NDArray[np.float64], error: npt.NDArray[np.float64], freedom: int
) -> npt.NDArray[np.float64]:
    """Two-sided p of Student's test; where all changes are equal, 0 for a change and 1 for none."""
    sure = error == 0
    ratio = np.abs(mean) / np.where(sure, 1.0, error)
    tested: npt.NDArray[np.float64] = 2 * student.sf(ratio, freedom)
    return np.where(sure, (mean == 0).astype(float), tested)
