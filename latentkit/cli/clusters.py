"""Finding clusters, scoring them and drawing them, for the verbs."""

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from latentkit.cli.sources import Source
from latentkit.latent.cluster import gmm, kmeans, stability
from latentkit.metrics.clustering import accuracy, ari, nmi, purity
from latentkit.views.figures import cluster_map

_FOR_STABILITY, _FOR_MAP = 2000, 3000  # images looked at: enough to see, quick to compute
_FOR_TSNE = 10


def find(
    source: Source, images: Tensor, latents: Tensor, method: str, count: int, seed: int
) -> tuple[Tensor, dict[str, float]]:
    """Clusters (N,) of images (N, C, *S) with latents (N, D), and how stable they are."""
    if method == "encoder":
        source.require("cluster")
        batches = torch.split(images, 256)
        with torch.no_grad():
            own = [source.model.cluster(x.to(source.device)).cpu() for x in batches]
        return torch.cat(own), {}
    fit = {"kmeans": kmeans, "gmm": gmm}[method]
    found = fit(latents, count, seed).labels
    some = latents[:_FOR_STABILITY]
    if count > len(some) // 2:
        return found, {}
    steady = stability(some, lambda z: fit(z, count, seed), repeats=5, seed=seed)
    return found, {"stability": steady}


def agreement(labels: Tensor, clusters: Tensor) -> dict[str, float]:
    """ACC, purity, NMI and ARI over the labelled images; empty if there are none."""
    known = labels >= 0
    if not known.any():
        return {}
    pair = labels[known], clusters[known]
    return {"acc": accuracy(*pair), "purity": purity(*pair), "nmi": nmi(*pair), "ari": ari(*pair)}


@torch.no_grad()
def drawn(source: Source, images: Tensor, latents: Tensor, method: str) -> tuple[Tensor, str]:
    """The points (N, D) that show the clusters, and their name.

    An encoder's own clusters lie apart in its features; in its latents the continuous part, which
    has nothing to do with them, may drown the few numbers that name the cluster.
    """
    if method != "encoder" or not hasattr(source.model, "features"):
        return latents, "latents"
    some = torch.split(images[:_FOR_MAP], 256)
    return torch.cat([source.model.features(x.to(source.device)).cpu() for x in some]), "features"


def flat_map(latents: Tensor, clusters: Tensor, title: str, what: str = "latents") -> Figure:
    """Draws up to 3,000 points (N, D), coloured by cluster (N,): by t-SNE if they are many."""
    some = latents[:_FOR_MAP].numpy()
    if len(some) < _FOR_TSNE or some.shape[1] <= 2:
        points = np.pad(some, ((0, 0), (0, 1)))[:, :2]
        return cluster_map(points, clusters[:_FOR_MAP].numpy(), None, f"{title}\n{what}, two axes")
    start = PCA(2, random_state=0).fit_transform(some) if some.shape[1] > 2 else some
    start = start / (start[:, 0].std() + 1e-12) * 1e-4  # the scale t-SNE starts from
    settings = {"init": start, "random_state": 0, "perplexity": min(30, len(some) // 4)}
    points = TSNE(2, **settings).fit_transform(some)
    note = f"{title}\nt-SNE of {len(some)} {what}: distances between groups mean little"
    return cluster_map(points, clusters[:_FOR_MAP].numpy(), None, note)
