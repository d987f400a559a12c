"""How far apart are clusters, by the points alone? No labels are needed.

All three leave noise (cluster -1) out, so a method that calls much of a set noise looks better: say
its share beside them. They favour round clusters, in the space they are measured in.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics
from torch import Tensor

_Points = npt.NDArray[np.float64]


def silhouette(z: Tensor, clusters: Tensor, most: int = 5000, seed: int = 0) -> float:
    """Mean over the points of (b - a) / max(a, b), in [-1, 1]; higher is better.

    a is the mean distance to the other members of the own cluster, b to those of the nearest other
    one; 0 for the only member of a cluster. Rousseeuw, "Silhouettes: a graphical aid to the
    interpretation and validation of cluster analysis", 1987.

    Args:
        z: (N, D) points.
        clusters: (N,) integers, -1 is noise.
        most: of more points than that, so many are drawn: the distances of all pairs are needed.
        seed: of the draw.

    Raises:
        ValueError: if the shapes do not fit, a point is not finite, or there is not more than one
            cluster and fewer clusters than points (of the drawn ones, too).
    """
    points, found = _clustered(z, clusters)
    if most < 3:
        raise ValueError(f"expected most >= 3 points, got {most}")
    if len(points) > most:
        drawn = np.random.default_rng(seed).choice(len(points), most, replace=False)
        points, found = points[drawn], found[drawn]
        _check_number(found)
    return float(metrics.silhouette_score(points, found))


def davies_bouldin(z: Tensor, clusters: Tensor) -> float:
    """Mean over clusters of their worst ratio of spread to distance; 0 is best.

    Davies and Bouldin, "A cluster separation measure", 1979. The spread is the mean distance of
    the members of both clusters to their centres, the distance that of the centres.

    Args:
        z: (N, D) points.
        clusters: (N,) integers, -1 is noise.

    Raises:
        ValueError: if the shapes do not fit, a point is not finite, or there is not more than one
            cluster and fewer clusters than points.
    """
    return float(metrics.davies_bouldin_score(*_clustered(z, clusters)))


def calinski_harabasz(z: Tensor, clusters: Tensor) -> float:
    """Variance between clusters over variance within, each by its degrees of freedom.

    Calinski and Harabasz, "A dendrite method for cluster analysis", 1974. Higher is better; it is
    not bounded, so compare clusterings of the same points only.

    Args:
        z: (N, D) points.
        clusters: (N,) integers, -1 is noise.

    Raises:
        ValueError: if the shapes do not fit, a point is not finite, or there is not more than one
            cluster and fewer clusters than points.
    """
    return float(metrics.calinski_harabasz_score(*_clustered(z, clusters)))


def _clustered(z: Tensor, clusters: Tensor) -> tuple[_Points, npt.NDArray[Any]]:
    """The points that are no noise and their clusters."""
    if z.ndim != 2 or clusters.shape != z.shape[:1]:
        raise ValueError(
            f"expected points (N, D) and clusters (N,), got {tuple(z.shape)} and "
            f"{tuple(clusters.shape)}"
        )
    if clusters.is_floating_point():
        raise ValueError(f"expected clusters of an integer dtype, got {clusters.dtype}")
    if not z.isfinite().all():
        raise ValueError("expected finite points, got NaN or infinity")
    inside = clusters != -1
    found = clusters[inside].cpu().numpy()
    _check_number(found)
    return z[inside].detach().cpu().double().numpy(), found


def _check_number(clusters: npt.NDArray[Any]) -> None:
    number = len(np.unique(clusters))
    if not 2 <= number < len(clusters):
        raise ValueError(
            "expected two clusters or more, and fewer clusters than points without noise, got "
            f"{number} clusters of {len(clusters)} points"
        )
