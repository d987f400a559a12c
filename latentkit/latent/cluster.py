"""Clusters of latents, and how far to trust them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from torch import Tensor

from latentkit.latent.points import check_points, spread
from latentkit.latent.watch import Watch
from latentkit.metrics.clustering import ari


@dataclass(frozen=True)
class Clustering:
    """Which cluster each latent belongs to, on the latents' device.

    Attributes:
        method: what found the clusters: "kmeans", "gmm", "spectral", "hdbscan", "dec", ...
        labels: (N,) int64, in [0, K); -1 is noise, that belongs to none (HDBSCAN alone).
        centres: (K, D), in the latents' dtype; (0, D) if all is noise.
        confidence: (N,) in [0, 1]: how clearly each latent belongs to its cluster, not another.
            Its meaning is the method's: do not compare it between methods.
    """

    method: str
    labels: Tensor
    centres: Tensor
    confidence: Tensor


def kmeans(z: Tensor, k: int, seed: int = 0, restarts: int = 10) -> Clustering:
    """Clusters of least squared distance to their centre.

    Lloyd, "Least squares quantization in PCM", 1982, from k-means++ starts. The confidence is the
    simplified silhouette (Hruschka et al., 2004): 1 - distance to the own centre / distance to the
    next nearest one.

    Args:
        z: (N, D) latents.
        k: number of clusters, at most N.
        seed: of the starts.
        restarts: number of starts; the best is kept.

    Raises:
        ValueError: if z is not (N, D) and finite, k is not in [1, N], or restarts < 1.
    """
    points = to_points(z, k)
    if restarts < 1:
        raise ValueError(f"expected restarts >= 1, got {restarts}")
    model = KMeans(k, n_init=restarts, random_state=seed).fit(points)
    centres = model.cluster_centers_
    return clustering("kmeans", z, model.labels_, centres, margin(model.transform(points)))


def gmm(z: Tensor, k: int, seed: int = 0) -> Clustering:
    """Clusters of a Gaussian mixture with full covariances, fitted by expectation maximisation.

    Dempster, Laird and Rubin, 1977. Fitted to the latents with each coordinate in its own standard
    deviations, so that the unit of no coordinate matters. The confidence is the probability of the
    own component given the latent.

    Args:
        z: (N, D) latents.
        k: number of clusters, at most N.
        seed: of the start, which k-means finds.

    Raises:
        ValueError: if z is not (N, D) and finite, or k is not in [1, N].
    """
    found = mixture(z, k, seed)
    responsibility = found.model.predict_proba(found.points)
    labels, confidence = responsibility.argmax(1), responsibility.max(1)
    centres = found.model.means_ * found.scale + found.middle
    return clustering("gmm", z, labels, centres, confidence)


class FittedMixture(NamedTuple):
    """scikit-learn's Gaussian mixture of standardised latents.

    Attributes:
        model: fitted to `points`.
        points: (N, D), the latents less `middle`, over `scale`.
        middle: (D,) the latents' mean.
        scale: (D,) their standard deviation, 1 for a constant coordinate.
    """

    model: GaussianMixture
    points: npt.NDArray[np.float64]
    middle: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]


def mixture(z: Tensor, k: int, seed: int) -> FittedMixture:
    """Fits what `gmm` and `choose.bic` share; their arguments and errors."""
    points = to_points(z, k)
    if len(points) == 1:
        raise ValueError("expected at least 2 latents to fit a Gaussian mixture, got 1")
    # What scikit-learn adds to the variances is absolute: 1e-6 must be small in the data's unit.
    middle, scale = points.mean(0), spread(torch.from_numpy(points)).numpy()
    points = (points - middle) / scale
    model = GaussianMixture(k, random_state=seed, max_iter=500).fit(points)
    return FittedMixture(model, points, middle, scale)


def stability(
    z: Tensor,
    fit: Callable[[Tensor], Clustering],
    repeats: int = 10,
    seed: int = 0,
    distinct: bool = False,
    watch: Watch = iter,
) -> float:
    """Do the same clusters come back from other samples of the same latents?

    Clusters `repeats` bootstrap resamples, and averages the adjusted Rand index over all pairs of
    them, on the latents that both hold. Ben-Hur, Elisseeff and Guyon, "A stability based method
    for discovering structure in clustered data", 2002. A single cluster is always stable; noise
    counts as one more cluster.

    Args:
        z: (N, D) latents.
        fit: clusters latents, for example `lambda z: kmeans(z, 10)`.
        repeats: number of resamples, >= 2.
        seed: of the resamples.
        distinct: give `fit` each drawn latent once. For methods that look at neighbours (spectral,
            HDBSCAN), to which copies are a density that is not there.
        watch: given the numbers of the resamples; a progress bar, for example.

    Returns:
        1 for the same clusters every time, about 0 for unrelated ones.

    Raises:
        ValueError: if z is not (N, D) and finite, repeats < 2, or two resamples share no latent.
    """
    check_points(z)
    if repeats < 2:
        raise ValueError(f"expected repeats >= 2, since resamples are compared, got {repeats}")
    generator = torch.Generator().manual_seed(seed)
    found = [_labels_by_index(z, fit, generator, distinct) for _ in watch(range(repeats))]
    return float(np.mean([_agreement(p, q) for p, q in combinations(found, 2)]))


def _labels_by_index(
    z: Tensor, fit: Callable[[Tensor], Clustering], generator: torch.Generator, distinct: bool
) -> dict[int, int]:
    """Cluster a bootstrap resample: the cluster of every latent that was drawn."""
    drawn = torch.randint(len(z), (len(z),), generator=generator)
    drawn = torch.unique(drawn) if distinct else drawn
    labels = fit(z[drawn.to(z.device)]).labels
    return dict(zip(drawn.tolist(), labels.tolist(), strict=True))


def _agreement(p: dict[int, int], q: dict[int, int]) -> float:
    common = sorted(p.keys() & q.keys())
    if not common:
        raise ValueError(f"expected enough latents for resamples to share some, got {len(p)}")
    return ari([p[i] for i in common], [q[i] for i in common])


def to_points(z: Tensor, k: int) -> npt.NDArray[np.float64]:
    """Latents (N, D) to put into k clusters, for scikit-learn; ValueError if they cannot be."""
    check_points(z)
    if not 1 <= k <= len(z):
        raise ValueError(f"expected 1 <= k <= {len(z)} clusters of {len(z)} latents, got k={k}")
    return z.detach().to("cpu", torch.float64).numpy()


def margin(distances: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Simplified silhouettes (N,) from the distances to the centres (N, K).

    1 if there is a single cluster, 0 on coinciding centres.
    """
    nearest = np.sort(distances, axis=1)[:, :2]
    if nearest.shape[1] == 1:
        return np.ones(len(distances))
    own, other = nearest.T
    ratio: npt.NDArray[np.float64] = np.ones(len(distances))
    np.divide(own, other, out=ratio, where=other > 0)
    return 1 - ratio


def clustering(
    method: str,
    z: Tensor,
    labels: npt.NDArray[Any],
    centres: npt.NDArray[Any],
    confidence: npt.NDArray[Any],
) -> Clustering:
    """A `Clustering` of z (N, D), with its dtype and device, from what scikit-learn found."""
    return Clustering(
        method,
        torch.as_tensor(labels, dtype=torch.int64, device=z.device),
        torch.as_tensor(centres, dtype=z.dtype, device=z.device),
        torch.as_tensor(confidence, dtype=z.dtype, device=z.device),
    )
