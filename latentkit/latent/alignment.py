"""Is it one concept? How alike the single differences between two groups are."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from latentkit.latent.attributes import Method, Strata
from latentkit.latent.contrast import Contrast, Floats, Integers, contrast

_MOST = 500  # pairs of a matching: more add time, not certainty


@dataclass(frozen=True)
class Alignment:
    """How alike the differences between latents of two groups are.

    Attributes:
        cosine: mean cosine between two differences that share no latent: 0 for groups that are
            alike, whatever their sizes; 1 where every difference is the same.
        p: of the groups being alike: (b + 1) / (m + 1).
        pairs: differences of each matching.
    """

    cosine: float
    p: float
    pairs: int


def alignment(
    start: Tensor,
    end: Tensor,
    *,
    paired: bool = False,
    strata: Strata | None = None,
    matchings: int = 16,
    permutations: int = 199,
    seed: int = 0,
) -> Alignment:
    """Mean cosine between differences end - start, and whether random groups have as much.

    Liu et al., "Latent Space Cartography", EuroVis 2019, take all N M differences. Two of them that
    share a latent have an expected cosine of about 1/2 on pure noise, so that their mean is
    positive for groups that are alike. Here a matching pairs each latent at most once: two
    differences share none, and on groups that are alike the mean is 0 for any sizes. It is averaged
    over random matchings. The null relabels the latents and keeps the matchings.

    Args:
        start: (N, D), N >= 2.
        end: (M, D), M >= 2.
        paired: rows are pairs, and the only matching.
        strata: of `attribute`: matches and relabels within strata.
        matchings: R >= 1.
        permutations: m >= 1.
        seed: of the matchings and permutations.

    Raises:
        ValueError: as `attribute` does, if a group has less than two latents or, but for pairs, one
            that equals a latent of the other, a number is out of range, or pairs are declared with
            strata.
    """
    if paired and strata is not None:
        raise ValueError("expected pairs or strata, got both")
    if matchings < 1 or permutations < 1:
        raise ValueError(
            f"expected matchings >= 1 and permutations >= 1, got {matchings} and {permutations}"
        )
    method: Method = "paired" if paired else "centroid" if strata is None else "balanced"
    groups = contrast(start, end, method, strata)
    rng = groups.generator(seed)
    a, b = _matched(groups, matchings, rng)
    ours = _mean_cosine(groups.end[b] - groups.start[a])
    null = []
    for labels in groups.labels(permutations, rng):
        other = groups.relabelled(labels)
        null.append(_mean_cosine(other.end[b] - other.start[a]))
    beyond = int((np.array(null) >= ours - 1e-12).sum())
    return Alignment(ours, (beyond + 1) / (permutations + 1), a.shape[1])


def _matched(
    groups: Contrast, matchings: int, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Rows of start and of end, (R, K) each: K pairs, within strata, no row twice."""
    if groups.paired:
        rows = np.arange(len(groups.start))[None]
        return rows, rows
    starts, ends = [], []
    for cell in groups.shared:
        a, b = (np.flatnonzero(cells == cell) for cells in groups.cells)
        size = min(len(a), len(b))
        starts.append(a[rng.random((matchings, len(a))).argsort(1)[:, :size]])
        ends.append(b[rng.random((matchings, len(b))).argsort(1)[:, :size]])
    start, end = np.concatenate(starts, 1), np.concatenate(ends, 1)
    if start.shape[1] < 2:
        raise ValueError("expected two latents of each group in the strata they share, got one")
    kept = rng.permutation(start.shape[1])[:_MOST]
    return start[:, kept], end[:, kept]


def _mean_cosine(differences: Floats) -> float:
    """Of all pairs of the K differences of each matching, (R, K, D), averaged over matchings."""
    lengths = np.linalg.norm(differences, axis=2, keepdims=True)
    unit = differences / np.where(lengths > 0, lengths, 1)
    # The squared length of the sum holds every cosine twice, and each difference with itself.
    total = np.square(unit.sum(1)).sum(1) - (lengths > 0).sum((1, 2))
    count = differences.shape[1]
    return float(total.mean() / (count * (count - 1)))
