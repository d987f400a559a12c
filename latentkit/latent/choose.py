"""How many clusters? A criterion over several numbers, with its whole table."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from torch import Tensor

from latentkit.latent.cluster import Clustering, kmeans, mixture, stability, to_points
from latentkit.latent.watch import Watch
from latentkit.metrics.internal import silhouette

Criterion: TypeAlias = Literal["bic", "silhouette", "stability"]
Fit: TypeAlias = Callable[[Tensor, int], Clustering]
"""Clusters latents (N, D) into so many clusters, for example `kmeans`."""


@dataclass(frozen=True)
class Choice:
    """A number of clusters, and what spoke for it.

    Attributes:
        k: the number.
        by: the criterion: "bic" is least at k, the others are highest.
        table: the criterion's value for every number that was tried, in ascending order.
    """

    k: int
    by: str
    table: dict[int, float]


def bic(z: Tensor, k: int, seed: int = 0) -> float:
    """Bayesian information criterion of a Gaussian mixture of k components; lower is better.

    Schwarz, "Estimating the dimension of a model", 1978: -2 log likelihood + parameters x log N,
    with full covariances, so k (D + 1) (D + 2) / 2 - 1 parameters. The mixture is that of `gmm`,
    fitted to standardised latents; the likelihood is that of the latents in their own unit. Another
    unit adds the same constant for every k, so that the comparison within a set stays.

    Args:
        z: (N, D) latents, N >= 2.
        k: number of components, at most N.
        seed: of the start.

    Returns:
        In nats; lower is better.

    Raises:
        ValueError: if z is not (N, D) and finite, there is one latent, or k is not in [1, N].
    """
    found = mixture(z, k, seed)
    unit = 2 * len(found.points) * np.log(found.scale).sum()
    return float(found.model.bic(found.points) + unit)


def choose_k(
    z: Tensor,
    ks: Sequence[int],
    by: Criterion = "bic",
    fit: Fit = kmeans,
    seed: int = 0,
    watch: Watch = iter,
) -> Choice:
    """The number of clusters that a criterion likes best, the smallest of equals.

    They answer different questions. "bic" (Schwarz 1978): how many Gaussian components the
    latents support; it counts one bent cluster as several. "silhouette" (Rousseeuw 1987): how many
    clusters lie apart. "stability" (Ben-Hur et al. 2002): how many come back in other samples; few
    clusters are easily stable. Look at the table: a flat one says that there is no such number.

    Args:
        z: (N, D) latents.
        ks: numbers to try; above 1 for "silhouette" and "stability", which one cluster has not.
        by: the criterion.
        fit: what finds the clusters that "silhouette" and "stability" judge.
        seed: of the starts, samples and resamples.
        watch: given the numbers to try, ascending; a progress bar, for example.

    Raises:
        ValueError: if z is not (N, D) and finite, ks is empty or holds a number out of range, or
            the criterion is unknown.
    """
    if by not in get_args(Criterion):
        raise ValueError(f"expected by to be one of {get_args(Criterion)}, got {by!r}")
    least = 1 if by == "bic" else 2
    if not ks or min(ks) < least:
        raise ValueError(f"expected numbers of clusters of {least} or more by {by}, got {[*ks]}")
    table = {k: _value(z, k, by, fit, seed) for k in watch(sorted({*ks}))}
    sign = 1 if by == "bic" else -1
    best = min(table, key=lambda k: sign * table[k] if math.isfinite(table[k]) else math.inf)
    return Choice(best, by, table)


def _value(z: Tensor, k: int, by: Criterion, fit: Fit, seed: int) -> float:
    if by == "bic":
        return bic(z, k, seed)
    to_points(z, k)
    if by == "silhouette":
        return silhouette(z, fit(z, k).labels, seed=seed)
    return stability(z, lambda some: fit(some, k), seed=seed)
