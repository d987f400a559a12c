"""Finding clusters, scoring them and drawing them, for the verbs."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from latentkit.cli.named.sources import Source
from latentkit.cli.progress import bar, stage
from latentkit.latent.choose import Criterion, choose_k
from latentkit.latent.cluster import Clustering, gmm, kmeans, stability
from latentkit.latent.dec import dec
from latentkit.latent.neighbours import hdbscan, spectral
from latentkit.metrics.clustering import accuracy, ari, nmi, purity
from latentkit.metrics.internal import silhouette
from latentkit.views.figures import cluster_map

_FOR_STABILITY, _FOR_MAP = 2000, 3000  # images looked at: enough to see, quick to compute
_FOR_TSNE = 10
_MOST = 20  # clusters that `auto` tries


def find(
    source: Source, images: Tensor, latents: Tensor, method: str, count: int, seed: int
) -> Tensor:
    """Clusters (N,) of images (N, C, *S) with latents (N, D); -1 is noise."""
    if method != "encoder":
        with stage(f"clusters by {method}"):
            return fitted(method, count, seed)(latents).labels
    return source.map("cluster", images)


def fitted(method: str, count: int, seed: int) -> Callable[[Tensor], Clustering]:
    """What finds `count` clusters of latents (N, D), or for hdbscan such of so many or more."""
    fits: dict[str, Callable[[Tensor], Clustering]] = {
        "kmeans": lambda z: kmeans(z, count, seed),
        "gmm": lambda z: gmm(z, count, seed),
        "spectral": lambda z: spectral(z, count, seed),
        "hdbscan": lambda z: hdbscan(z, min(count, len(z)), min(5, len(z))),
        "dec": lambda z: dec(z, count, seed=seed).clusters,
    }
    return fits[method]


def number(
    source: Source, latents: Tensor, method: str, clusters: int | str | None, seed: int
) -> tuple[int, dict[str, Any]]:
    """How many clusters to look for, and how that was chosen where it was.

    Of latents (N, D): what the user said, or the number of classes, or what a criterion likes best.
    For hdbscan, which finds the number itself, the least size of a cluster.

    Raises:
        ValueError: a number is given to a method that finds it itself, or there are too few latents
            to choose it by.
    """
    if method in {"hdbscan", "encoder"}:
        if clusters is not None:
            raise ValueError(
                f"--method {method} finds the number of clusters itself: leave out --clusters"
            )
        return max(5, len(latents) // 100), {}
    if clusters != "auto":
        return int(clusters or len(source.data.class_names) or 10), {}
    some = latents[:_FOR_STABILITY]
    most = min(_MOST, len(some) // 2)
    if most < 2:
        raise ValueError(f"expected 4 images or more for --clusters auto, got {len(some)}")
    by: Criterion = "bic" if method == "gmm" else "silhouette"

    def one(z: Tensor, k: int) -> Clustering:
        return spectral(z, k, seed) if method == "spectral" else kmeans(z, k, seed)

    choice = choose_k(some, range(2, most + 1), by, one, seed, bar("number of clusters"))
    return choice.k, {"chosen_by": choice.by, "table": choice.table}


def quality(latents: Tensor, found: Tensor, method: str, count: int, seed: int) -> dict[str, float]:
    """What the latents (N, D) alone say of clusters (N,), where it can be measured."""
    numbers = {"noise": float((found < 0).float().mean())} if method == "hdbscan" else {}
    inside = found[found >= 0]
    if 1 < len(inside.unique()) < len(inside):  # type: ignore[no-untyped-call]
        numbers["silhouette"] = silhouette(latents, found, seed=seed)
    some = latents[:_FOR_STABILITY]
    if method == "encoder" or count > len(some) // 2 or not len(inside):
        return numbers
    if method == "hdbscan":  # a resample has fewer latents, so its clusters are smaller
        count = max(2, round(count * len(some) / len(latents)))
    fit, distinct = fitted(method, count, seed), method in {"spectral", "hdbscan"}
    watch = bar("stability")
    again = stability(some, fit, repeats=5, seed=seed, distinct=distinct, watch=watch)
    return numbers | {"stability": again}


def agreement(labels: Tensor, clusters: Tensor) -> dict[str, float]:
    """ACC, purity, NMI and ARI of labels (N,) and clusters (N,); empty if all labels are -1."""
    known = labels >= 0
    if not known.any():
        return {}
    pair = labels[known], clusters[known]
    return {"acc": accuracy(*pair), "purity": purity(*pair), "nmi": nmi(*pair), "ari": ari(*pair)}


def drawn(source: Source, images: Tensor, latents: Tensor, method: str) -> tuple[Tensor, str]:
    """The points (N, D) that show the clusters, and their name.

    An encoder's own clusters lie apart in its features; in its latents the continuous part, which
    has nothing to do with them, may drown the few numbers that name the cluster.
    """
    if method != "encoder" or not hasattr(source.model, "features"):
        return latents, "latents"
    return source.map("features", images[:_FOR_MAP]), "features"


def flat_map(latents: Tensor, clusters: Tensor, title: str, what: str = "latents") -> Figure:
    """Draws up to 3,000 points (N, D), coloured by cluster (N,): by t-SNE if they are many."""
    some = latents[:_FOR_MAP].numpy()
    if len(some) < _FOR_TSNE or some.shape[1] <= 2:
        points = np.pad(some, ((0, 0), (0, 1)))[:, :2]
        return cluster_map(points, clusters[:_FOR_MAP].numpy(), f"{title}\n{what}, two axes")
    start = PCA(2, random_state=0).fit_transform(some) if some.shape[1] > 2 else some
    start = start / (start[:, 0].std() + 1e-12) * 1e-4  # the scale t-SNE starts from
    settings = {"init": start, "random_state": 0, "perplexity": min(30, len(some) // 4)}
    with stage("t-SNE"):
        points = TSNE(2, **settings).fit_transform(some)
    note = f"{title}\nt-SNE of {len(some)} {what}: distances between groups mean little"
    return cluster_map(points, clusters[:_FOR_MAP].numpy(), note)
