"""How well do clusters agree with labels? Nothing depends on how either is numbered.

Labels and clusters are tensors, arrays or lists of N values of any kind; all scores are floats.
The number -1 as a cluster is noise, as HDBSCAN calls it: no label can name it, so its samples count
as wrong in ACC and purity; to NMI and ARI it is one more cluster.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.special import entr
from sklearn import metrics
from torch import Tensor

from latentkit.metrics.bootstrap import interval, jackknife, multinomial

_Table: TypeAlias = npt.NDArray[np.int64]
_Places: TypeAlias = npt.NDArray[np.intp]
_Code: TypeAlias = tuple[npt.NDArray[Any], _Places]
Labels: TypeAlias = Tensor | npt.NDArray[Any] | Sequence[Any]
"""One value for each of N samples."""


class Corrected(NamedTuple):
    """A score without what few samples add to it, and its 95 % interval.

    Attributes:
        score: corrected; it lies in the interval.
        low: the lower end.
        high: the upper end.
    """

    score: float
    low: float
    high: float


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
    counts, real = _contingency(labels, clusters)
    return float(counts[_naming(counts, real)].sum() / counts.sum())


def purity(labels: Labels, clusters: Labels) -> float:
    """Share of samples that carry the commonest label of their cluster, in [0, 1].

    Grows with the number of clusters (N clusters are pure), so compare equal numbers only. 0 where
    all is noise.

    Args:
        labels: (N,) the truth.
        clusters: (N,) the clusters found.

    Raises:
        ValueError: if the two differ in length, are empty, or are not flat.
    """
    counts, real = _contingency(labels, clusters)
    return float(counts[:, real].max(axis=0).sum() / counts.sum())


def nmi(labels: Labels, clusters: Labels) -> float:
    """Mutual information over the mean of the two entropies, in [0, 1].

    Args:
        labels: (N,) the truth.
        clusters: (N,) the clusters found.

    Raises:
        ValueError: if the two differ in length, are empty, or are not flat.
    """
    return float(metrics.normalized_mutual_info_score(*_numbers(labels, clusters)))


def ari(labels: Labels, clusters: Labels) -> float:
    """Share of sample pairs treated alike, corrected for chance: 1 is perfect, 0 is chance.

    Hubert and Arabie, "Comparing partitions", Journal of Classification 1985.

    Args:
        labels: (N,) the truth.
        clusters: (N,) the clusters found.

    Raises:
        ValueError: if the two differ in length, are empty, or are not flat.
    """
    return float(metrics.adjusted_rand_score(*_numbers(labels, clusters)))


def corrected(
    labels: Labels, clusters: Labels, resamples: int = 1000, seed: int = 0
) -> dict[str, Corrected]:
    """The four scores without what few samples add to them, and 95 % intervals over samples.

    They are about other samples under the clusters as they were found, not about other runs of the
    clustering; what they should hold is the score of endlessly many samples. Few samples flatter
    all but ARI: a table has chance agreement in it, and names are fitted to it. A percentile
    bootstrap flatters once more. So NMI and ARI have the jackknife's corrected score with 1.96
    standard errors about it; ACC and purity a bootstrap under the names found, less what names
    fitted to each resample gain. With few samples an interval may lie below the plain score, so it
    belongs beside the corrected one.

    Of 10 clusters and 10 labels the intervals held the true score in 92 to 97 % of simulations (150
    to 500 a case) with 10,000 samples. With 363 it was 91 to 98 %, except for NMI above 0.6 (88 to
    91 %), 0.85 (73 to 85 %) and 0.95 (65 to 78 %) and ARI above 0.95 (87 %): they lie too high
    there, since the rare errors that make the difference were not seen.

    Args:
        labels: (N,) the truth.
        clusters: (N,) the clusters found.
        resamples: number of bootstrap resamples, of ACC and purity.
        seed: of the resamples.

    Returns:
        "acc", "purity", "nmi" and "ari", each with the ends of its interval.

    Raises:
        ValueError: if the two differ in length, are empty, or are not flat, or there is no
            resample.
    """
    # All four depend on the table of counts alone, so that is what is resampled.
    table, real = _contingency(labels, clusters)
    tables = multinomial(table, resamples, seed)
    named, commonest = _naming(table, real), (table[:, real].argmax(0), real)
    return {
        "acc": _without_fit(table, tables, named, _named(tables, real)),
        "purity": _without_fit(table, tables, commonest, tables[:, :, real].max(1).sum(1)),
        "nmi": _corrected(table, _nmis, 0.0),
        "ari": _corrected(table, _aris, -0.5),
    }


def _named(tables: _Table, real: _Places) -> _Table:
    """(B, L, K) -> (B,) samples that are right under the best naming for each table."""
    return np.array([table[_naming(table, real)].sum() for table in tables])


def _without_fit(
    table: _Table, tables: _Table, right: tuple[_Places, _Places], fitted: _Table
) -> Corrected:
    """A share of samples.

    Args:
        table: (L, K) as found.
        tables: (B, L, K) resamples.
        right: rows and columns of the cells that count as right.
        fitted: (B,) samples that count as right where that is fitted to each resample.
    """
    total = table.sum()
    shares = tables[:, *right].sum(1) / total
    gain = (fitted / total - shares).mean()
    found = table[right].sum() / total - gain, *interval(shares - gain)
    return Corrected(*(max(0.0, float(value)) for value in found))


def _corrected(
    table: _Table, score: Callable[[_Table], npt.NDArray[np.float64]], least: float
) -> Corrected:
    """A score from `least` to 1; one sample says nothing of others."""
    if table.sum() < 2:
        return Corrected(float(score(table[None])[0]), least, 1.0)
    middle, error = jackknife(table, score)
    found = np.clip([middle, middle - 1.96 * error, middle + 1.96 * error], least, 1)
    return Corrected(*map(float, found))


def _nmis(tables: _Table) -> npt.NDArray[np.float64]:
    """(B, L, K) -> (B,): I = H(labels) + H(clusters) - H(both); 1 where neither varies."""
    both = tables / tables.sum((1, 2), keepdims=True)
    apart = entr(both.sum(2)).sum(1) + entr(both.sum(1)).sum(1)
    shared = apart - entr(both).sum((1, 2))
    ratio: npt.NDArray[np.float64] = np.ones(len(tables))
    np.divide(shared, apart / 2, out=ratio, where=apart > 0)
    return ratio


def _aris(tables: _Table) -> npt.NDArray[np.float64]:
    """(B, L, K) -> (B,), by pairs of samples; 1 where all pairs are alike."""
    together = _pairs(tables).sum((1, 2))
    rows, columns = _pairs(tables.sum(2)).sum(1), _pairs(tables.sum(1)).sum(1)
    chance = rows * columns / np.maximum(_pairs(tables.sum((1, 2))), 1)
    room = (rows + columns) / 2 - chance
    ratio: npt.NDArray[np.float64] = np.ones(len(tables))
    np.divide(together - chance, room, out=ratio, where=room > 0)
    return ratio


def _pairs(counts: _Table) -> npt.NDArray[np.float64]:
    return counts * (counts - 1.0) / 2


def _naming(table: _Table, real: _Places) -> tuple[_Places, _Places]:
    """Rows and columns of the cells that name clusters best, one to one; noise gets no name."""
    rows, columns = linear_sum_assignment(table[:, real], maximize=True)
    return rows, real[columns]


def _contingency(labels: Labels, clusters: Labels) -> tuple[_Table, _Places]:
    """Samples of each label (row) in each cluster (column), and the columns that are no noise."""
    (_, row), (names, column) = _codes(labels, clusters)
    counts = np.zeros((row.max() + 1, column.max() + 1), dtype=np.int64)
    np.add.at(counts, (row, column), 1)
    return counts, np.array([k for k, name in enumerate(names) if name != -1], dtype=np.intp)


def _codes(labels: Labels, clusters: Labels) -> tuple[_Code, _Code]:
    """Both as their names, and the samples renamed to 0, 1, ..."""
    rows, columns = _code(labels, "labels"), _code(clusters, "clusters")
    if len(rows[1]) != len(columns[1]):
        raise ValueError(
            f"expected as many labels as clusters, got {len(rows[1])} labels and "
            f"{len(columns[1])} clusters"
        )
    return rows, columns


def _numbers(labels: Labels, clusters: Labels) -> tuple[_Places, _Places]:
    (_, rows), (_, columns) = _codes(labels, clusters)
    return rows, columns


def _code(values: Labels, name: str) -> _Code:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"expected {name} of shape (N,), one for each of at least one sample, got {array.shape}"
        )
    names, codes = np.unique(array, return_inverse=True)
    return names, codes
