"""Clusters by who is near whom, of any shape: spectral clustering and HDBSCAN."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.manifold import spectral_embedding
from sklearn.neighbors import kneighbors_graph
from torch import Tensor

from latentkit.latent.cluster import Clustering, clustering, margin, to_points
from latentkit.latent.points import check_points


def spectral(z: Tensor, k: int, seed: int = 0, neighbours: int = 10) -> Clustering:
    """Clusters that few edges of the graph of nearest neighbours lead out of.

    Shi and Malik, "Normalized cuts and image segmentation", 2000; von Luxburg, "A tutorial on
    spectral clustering", 2007 (arXiv 0711.0189). K-means in the k first eigenvectors of the
    normalised Laplacian. An eigenproblem of the size of the set: minutes above 20,000 latents.

    Args:
        z: (N, D) latents.
        k: number of clusters, at most N.
        seed: of the eigensolver and of K-means.
        neighbours: edges from each latent, made symmetric (all, if there are fewer others).

    Returns:
        The centres are the means of the members; the confidence is the simplified silhouette
        (see `kmeans`) in the eigenvectors.

    Raises:
        ValueError: if z is not (N, D) and finite, k is not in [1, N], or neighbours < 1.
    """
    points = to_points(z, k)
    if neighbours < 1:
        raise ValueError(f"expected neighbours >= 1, got {neighbours}")
    if k in {1, len(points)}:  # nothing to find, and no such eigenvectors
        labels = np.arange(len(points)) % k
        return clustering("spectral", z, labels, _means(points, labels), np.ones(len(points)))
    graph = kneighbors_graph(points, min(neighbours, len(points) - 1))
    with warnings.catch_warnings():
        # Parts without any edge between them are what is looked for.
        warnings.filterwarnings("ignore", "Graph is not fully connected")
        embedded = spectral_embedding(
            (graph + graph.T) / 2, n_components=k, random_state=seed, drop_first=False
        )
    model = KMeans(k, n_init=10, random_state=seed).fit(embedded)
    confidence = margin(model.transform(embedded))
    return clustering("spectral", z, model.labels_, _means(points, model.labels_), confidence)


def hdbscan(z: Tensor, min_size: int = 15, min_samples: int = 5) -> Clustering:
    """Dense regions, whose number it finds, and noise (-1) between them.

    Campello, Moulavi and Sander, "Density-based clustering based on hierarchical density
    estimates", PAKDD 2013; scikit-learn's. Nothing is random. In many dimensions all distances are
    alike and most latents may be noise: look at the share of -1.

    Args:
        z: (N, D) latents, N >= 2.
        min_size: latents of the smallest cluster, in [2, N].
        min_samples: neighbours that make a latent dense, in [1, N]. More of them call more latents
            noise.

    Returns:
        The centres are the means of the members; the confidence is the membership strength, 0 for
        noise.

    Raises:
        ValueError: if z is not (N, D) and finite, or a number is out of its range.
    """
    check_points(z)
    if not 2 <= min_size <= len(z):
        raise ValueError(
            f"expected 2 <= min_size <= {len(z)}, since a cluster of 1 is noise and there are "
            f"{len(z)} latents, got {min_size}"
        )
    if not 1 <= min_samples <= len(z):
        raise ValueError(f"expected 1 <= min_samples <= {len(z)} latents, got {min_samples}")
    points = to_points(z, 1)
    model = HDBSCAN(min_cluster_size=min_size, min_samples=min_samples, copy=True).fit(points)
    means = _means(points, model.labels_)
    return clustering("hdbscan", z, model.labels_, means, model.probabilities_)


def _means(points: npt.NDArray[np.float64], labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Of the members of each cluster, noise left out: (K, D)."""
    clusters = range(labels.max() + 1)
    found = [points[labels == c].mean(0) for c in clusters]
    return np.stack(found) if found else points[:0]
