"""What a direction between two groups is worth on latents that it was not found with."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from torch import Tensor

from latentkit.latent.attributes import Method, Strata
from latentkit.latent.contrast import Contrast, Floats, Integers, contrast
from latentkit.metrics.bootstrap import interval

_FOLDS = 5
_Crossed: TypeAlias = tuple[Floats, Floats, Integers, Integers]
"""Projections of every latent on the direction of the other folds, and the folds: start and end."""


@dataclass(frozen=True)
class HeldOut:
    """What a direction is worth on latents that it was not found with.

    Attributes:
        auc: P(a held-out latent of the end projects further than one of the start), ties half; for
            pairs the share of held-out pairs in which the end does. 0.5 is chance.
        effect: Cohen's d of the held-out projections: the difference of the groups' means in
            standard deviations within the groups.
        effect_interval: its 95 % interval over latents, for the directions as they were found.
    """

    auc: float
    effect: float
    effect_interval: tuple[float, float]


def held_out_auc(
    start: Tensor,
    end: Tensor,
    method: Method = "centroid",
    *,
    strata: Strata | None = None,
    seed: int = 0,
) -> float:
    """The area under the ROC curve on latents that the direction was not found with.

    Cross-fitted in up to five folds: each is judged by the direction of the others. On the latents
    that a direction was found with, D > N separates even noise.

    Args:
        start: (N, D), N >= 2.
        end: (M, D), M >= 2.
        method: of `attribute`.
        strata: of `attribute`.
        seed: of the folds.

    Raises:
        ValueError: as `attribute` does, or if a group has less than two latents or, but for pairs,
            one that equals a latent of the other; or no stratum has two of each group.
    """
    groups = contrast(start, end, method, strata)
    return cross_fitted_auc(groups, groups.generator(seed))


def held_out(
    start: Tensor,
    end: Tensor,
    method: Method = "centroid",
    *,
    strata: Strata | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> HeldOut:
    """AUC and effect size on latents that the direction was not found with.

    Cross-fitted as in `held_out_auc`, whose arguments and errors these are.

    Args:
        start: (N, D), N >= 2.
        end: (M, D), M >= 2.
        method: of `attribute`.
        strata: of `attribute`.
        resamples: of the held-out projections, for the interval, >= 1.
        seed: of the folds and resamples.
    """
    groups = contrast(start, end, method, strata)
    rng = groups.generator(seed)
    crossed = _crossed(groups, rng)
    a, b, *_ = crossed
    found = _effects(a, b, *groups.whole)[0]
    drawn = _effects(a, b, *groups.resamples(resamples, rng))
    return HeldOut(_auc(groups, crossed), float(found), interval(drawn))


def cross_fitted_auc(groups: Contrast, rng: np.random.Generator) -> float:
    """`held_out_auc` of groups that are checked already, with folds drawn from `rng`.

    Raises:
        ValueError: if no stratum has two latents of each group.
    """
    return _auc(groups, _crossed(groups, rng))


def _auc(groups: Contrast, crossed: _Crossed) -> float:
    start, end, a, b = crossed
    if groups.paired:
        return float(((end > start) + 0.5 * (end == start)).mean())
    wins = pairs = 0.0
    for fold in range(int(a.max()) + 1):
        x, y = np.sort(start[a == fold]), end[b == fold]
        wins += sum(np.searchsorted(x, y, side).sum() / 2 for side in ("left", "right"))
        pairs += len(x) * len(y)
    return wins / pairs


def _crossed(groups: Contrast, rng: np.random.Generator) -> _Crossed:
    a, b = groups.folds(_FOLDS, rng)
    numbers = np.arange(int(a.max()) + 1)[:, None]
    if len(numbers) < 2:
        raise ValueError("expected a stratum with 2 latents of each group to hold some out of")
    found = groups.estimates(a != numbers, b != numbers)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-300)
    # From the middle of the groups that found it, so that folds share an origin.
    middles = [
        (groups.start[a != k].mean(0) + groups.end[b != k].mean(0)) / 2 for k in range(len(found))
    ]
    offsets = (found * np.stack(middles)).sum(1)
    start = (groups.start * found[a]).sum(1) - offsets[a]
    return start, (groups.end * found[b]).sum(1) - offsets[b], a, b


def _effects(start: Floats, end: Floats, a: Integers, b: Integers) -> Floats:
    """Cohen's d of resampled scores: (N,), (M,), weights (B, N) and (B, M) -> (B,)."""
    means, squares, sizes = [], np.zeros(len(a)), 0
    for scores, weights in ((start, a), (end, b)):
        mean = weights @ scores / len(scores)
        squares = squares + weights @ scores**2 - len(scores) * mean**2
        means.append(mean)
        sizes += len(scores)
    deviation = np.sqrt(np.maximum(squares, 0) / (sizes - 2))
    return np.asarray((means[1] - means[0]) / np.maximum(deviation, 1e-300))
