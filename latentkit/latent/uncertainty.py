"""How far to trust a direction between two groups: its cone and its p-value.

Every statistic takes the estimator by the name that `attribute` knows, repeats it on resamples,
relabelled groups or folds, and does not depend on the order of unpaired latents.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from latentkit.latent.attributes import Method, Strata
from latentkit.latent.contrast import FITTED, Contrast, Floats, contrast
from latentkit.latent.held_out import cross_fitted_auc
from latentkit.metrics.bootstrap import interval

Statistic: TypeAlias = Literal["length", "auc"]
"""What `permutation_p` compares: the length of the difference, or the held-out AUC."""


@dataclass(frozen=True)
class Cone:
    """How far the direction would move with other latents of the same groups.

    Attributes:
        half_angle: degrees; 95 % of bootstrap directions lie within it. It is the spread about the
            estimate, and smaller than the estimate's error for few latents in many dimensions: of 5
            latents a group, 32 dimensions and a shift of 1.5 standard deviations it is about 52
            degrees where the estimate is 67 degrees off. See `corrected`.
        cosine: the middle 95 % of the bootstrap directions' cosines with the direction.
        corrected: degrees; 95 % of directions of such groups lie within it from the true one. Above
            90 where the difference is no longer than noise alone would make it; None for the fitted
            estimators, which have no length. Of normal latents in 32 dimensions, 300 draws each, it
            held the truth in 91 to 95 % with a shift of 1.5 standard deviations and 10 to 200
            latents a group (`half_angle`: 15 to 86 %), but in 89 % with 5, and in 80 % with 50 and
            a shift of 0.3, which is hardly more than noise.
    """

    half_angle: float
    cosine: tuple[float, float]
    corrected: float | None


def bootstrap_directions(
    start: Tensor,
    end: Tensor,
    method: Method = "centroid",
    *,
    strata: Strata | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Tensor:
    """Directions of resampled groups: each group is drawn anew, with replacement, by itself.

    Strata are drawn each by itself too, and pairs stay together. Their cosines with any other
    direction show how sure that cosine is.

    Args:
        start: (N, D), N >= 2.
        end: (M, D), M >= 2.
        method: of `attribute`.
        strata: of `attribute`.
        resamples: B >= 1.
        seed: of the draws.

    Returns:
        (B, D) unit vectors, zero for a resample with equal means, float64 on the CPU.

    Raises:
        ValueError: as `attribute` does, or if a group has less than two latents or, but for pairs,
            one that equals a latent of the other; or B < 1.
    """
    groups = contrast(start, end, method, strata)
    found = torch.from_numpy(_resampled(groups, resamples, seed))
    return torch.nn.functional.normalize(found, dim=1)


def bootstrap_cone(
    start: Tensor,
    end: Tensor,
    method: Method = "centroid",
    *,
    strata: Strata | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Cone:
    """The cone of 95 % of the bootstrap directions about the direction of all latents.

    Arguments and errors are those of `bootstrap_directions`.

    Raises:
        ValueError: as `bootstrap_directions` does, or if the means are equal.
    """
    groups = contrast(start, end, method, strata)
    whole = groups.estimates(*groups.whole)[0]
    if not whole.any():
        raise ValueError("expected groups with different means, theirs are equal")
    found = _resampled(groups, resamples, seed)
    cosines = _cosines(found, whole)
    return Cone(_half_angle(cosines), interval(cosines), _corrected(groups, whole, found))


def permutation_p(
    start: Tensor,
    end: Tensor,
    method: Method = "centroid",
    *,
    strata: Strata | None = None,
    statistic: Statistic | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> float:
    """P-value of the groups being alike: how often do random groups differ as much?

    Relabels the latents, within strata where there are any; of pairs, it swaps the two. The
    p-value is (b + 1) / (m + 1) with b the number of m permutations whose statistic is at least as
    large, which is valid for every m: Phipson and Smyth, "Permutation P-values should never be
    zero", 2010. The groups count as different as well if only their spread is.

    Args:
        start: (N, D), N >= 2.
        end: (M, D), M >= 2.
        method: of `attribute`.
        strata: of `attribute`.
        statistic: "length" of the difference, or held-out "auc"; None for the length where the
            method has one.
        permutations: m >= 1.
        seed: of the permutations.

    Returns:
        At least 1 / (m + 1).

    Raises:
        ValueError: as `attribute` does, or if a group has less than two latents or, but for pairs,
            one that equals a latent of the other; m < 1, or the method has no length.
    """
    groups = contrast(start, end, method, strata)
    chosen = statistic or ("auc" if method in FITTED else "length")
    if chosen not in get_args(Statistic) or (chosen == "length" and method in FITTED):
        raise ValueError(f"expected statistic 'auc' (or 'length' of a mean), got {chosen!r}")
    if permutations < 1:
        raise ValueError(f"expected permutations >= 1, got {permutations}")
    rng = groups.generator(seed)
    labels = groups.labels(permutations, rng)
    if chosen == "auc":
        ours = cross_fitted_auc(groups, rng)
        null = np.array([cross_fitted_auc(groups.relabelled(row), rng) for row in labels])
    else:
        ours = float(np.linalg.norm(groups.estimates(*groups.whole)))
        null = np.linalg.norm(groups.pooled.estimates(~labels, labels), axis=1)
    # Relabellings that give the groups back differ from them by rounding only, and count.
    return float(((null >= ours * (1 - 1e-9)).sum() + 1) / (permutations + 1))


def _resampled(groups: Contrast, resamples: int, seed: int) -> Floats:
    if resamples < 1:
        raise ValueError(f"expected resamples >= 1, got {resamples}")
    return groups.estimates(*groups.resamples(resamples, groups.generator(seed)))


def _corrected(groups: Contrast, whole: Floats, found: Floats) -> float | None:
    """The cone about a true difference of the length that is left when noise is taken off.

    Noise makes the estimate longer than the true difference, which hides how far it turns it.
    """
    noise = None if groups.method in FITTED else _noise(groups)
    if noise is None:
        return None
    length = max(0.0, float(whole @ whole) - noise) ** 0.5
    errors = found - whole
    # Resamples of n latents vary by (n - 1) / n of what new latents would.
    errors *= np.sqrt(noise / max(np.square(errors).sum(1).mean(), 1e-300))
    unit = whole / np.linalg.norm(whole)
    return _half_angle(_cosines(length * unit + errors, unit))


def _noise(groups: Contrast) -> float | None:
    """Expected squared length of the difference's error; None where a stratum cannot say."""
    noise = 0.0
    for cell in groups.shared:
        a, b = groups.start[groups.cells[0] == cell], groups.end[groups.cells[1] == cell]
        parts = [b - a] if groups.paired else [a, b]
        if min(map(len, parts)) < 2:
            return None
        noise += sum(part.var(0, ddof=1).sum() / len(part) for part in parts)
    return noise / len(groups.shared) ** 2


def _cosines(rows: Floats, direction: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(direction)
    return np.asarray((rows @ direction / np.where(lengths > 0, lengths, 1)).clip(-1, 1))


def _half_angle(cosines: Floats) -> float:
    return float(np.degrees(np.arccos(np.quantile(cosines, 0.05))))
