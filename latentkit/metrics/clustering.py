"""How well do clusters agree with labels? Nothing depends on how either is numbered.

Labels and clusters are tensors, arrays or lists of N values of any kind; all scores are floats.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn import metrics
from torch import Tensor

Labels: TypeAlias = Tensor | npt.NDArray[Any] | Sequence[Any]
"""One value for each of N samples."""


def accuracy(labels: Labels, clusters: Labels) -> float:
    """Share of samples right under the best one-to-one naming of clusters by labels, in [0, 1].

    The naming is the Hungarian assignment, as in Xie et al., "Unsupervised Deep Embedding for
    Clustering Analysis", ICML 2016 (arXiv 1511.06335), eq. 10. Clusters beyond the number of
    labels stay unnamed, and all their samples count as wrong.

    Args:
        labels: (N,) the truth.
        clusters: (N,) the clusters found.

    Raises:
        ValueError: if the two differ in length, are empty, or are not flat.

    >>> accuracy(["cat", "cat", "dog", "dog"], [1, 1, 0, 1])
    0.75
    """
    counts = _contingency(labels, clusters)
    named = linear_sum_assignment(counts, maximize=True)
    return float(counts[named].sum() / counts.sum())


def purity(labels: Labels, clusters: Labels) -> float:
    """Share of samples that carry the commonest label of their cluster, in (0, 1].

    Grows with the number of clusters (N clusters are pure), so compare equal numbers only.

    Args:
        labels: (N,) the truth.
        clusters: (N,) the clusters found.

    Raises:
        ValueError: if the two differ in length, are empty, or are not flat.
    """
    counts = _contingency(labels, clusters)
    return float(counts.max(axis=0).sum() / counts.sum())


def nmi(labels: Labels, clusters: Labels) -> float:
    """Mutual information over the mean of the two entropies, in [0, 1].

    Args:
        labels: (N,) the truth.
        clusters: (N,) the clusters found.

    Raises:
        ValueError: if the two differ in length, are empty, or are not flat.
    """
    return float(metrics.normalized_mutual_info_score(*_codes(labels, clusters)))


def ari(labels: Labels, clusters: Labels) -> float:
    """Share of sample pairs treated alike, corrected for chance: 1 is perfect, 0 is chance.

    Hubert and Arabie, "Comparing partitions", Journal of Classification 1985.

    Args:
        labels: (N,) the truth.
        clusters: (N,) the clusters found.

    Raises:
        ValueError: if the two differ in length, are empty, or are not flat.
    """
    return float(metrics.adjusted_rand_score(*_codes(labels, clusters)))


def _contingency(labels: Labels, clusters: Labels) -> npt.NDArray[np.int64]:
    """Samples of each label (row) in each cluster (column)."""
    row, column = _codes(labels, clusters)
    counts = np.zeros((row.max() + 1, column.max() + 1), dtype=np.int64)
    np.add.at(counts, (row, column), 1)
    return counts


def _codes(labels: Labels, clusters: Labels) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Both renamed to 0, 1, ..."""
    row, column = _code(labels, "labels"), _code(clusters, "clusters")
    if len(row) != len(column):
        raise ValueError(
            f"expected as many labels as clusters, got {len(row)} labels and {len(column)} clusters"
        )
    return row, column


def _code(values: Labels, name: str) -> npt.NDArray[np.intp]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"expected {name} of shape (N,), one for each of at least one sample, got {array.shape}"
        )
    return np.unique(array, return_inverse=True)[1]
