"""The latent map of a report: points in two dimensions, thumbnails, and the members of clusters."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor
from torch.nn.functional import interpolate

from latentkit.latent.cluster import Clustering
from latentkit.views.labels import label_name
from latentkit.views.pixels import grid, to_pil

MOST_POINTS = 5000
"""Images that a page can hold the map of, within its size and a minute of t-SNE."""

_THUMBNAIL = 40  # pixels at most
_SPRITE = 2_500_000  # bytes of all thumbnails, of the 10 MB of a page
_MEMBERS = 8  # typical and borderline ones shown of each cluster
_FEW = 10  # points that t-SNE needs


@dataclass(frozen=True)
class ClusterRow:
    """One cluster.

    Attributes:
        name: its number; "noise" for points of none.
        size: number of images.
        label: the most frequent label and its share, as text; empty without labels.
        typical: points that belong to it most clearly.
        borderline: points that belong to it least clearly.
    """

    name: str
    size: int
    label: str
    typical: list[int]
    borderline: list[int]


@dataclass(frozen=True)
class LatentMap:
    """All that the page needs.

    Attributes:
        places: name of a projection -> N pairs of numbers in [0, 1].
        groups: "label" and "cluster" -> a name for each point.
        sprite: a WebP of all thumbnails, row by row.
        columns: thumbnails in a row of it.
        clusters: largest first.
        notes: how it was made, in sentences.
    """

    places: dict[str, list[tuple[float, float]]]
    groups: dict[str, list[str]]
    sprite: bytes
    columns: int
    clusters: list[ClusterRow]
    notes: list[str]


def latent_map(
    latents: Tensor,
    images: Tensor,
    labels: Tensor,
    clustering: Clustering,
    class_names: Sequence[str],
    notes: list[str],
) -> LatentMap:
    """Computes projections, thumbnails and members.

    Args:
        latents: (N, D).
        images: (N, C, H, W) in [0, 1].
        labels: (N,), -1 where there is none; N is `MOST_POINTS` at most.
        clustering: of the latents.
        class_names: of the labels; empty for their numbers.
        notes: how latents and clusters were made.

    Raises:
        ValueError: if there are more images.
    """
    if len(images) > MOST_POINTS:
        raise ValueError(f"expected at most {MOST_POINTS} images, got {len(images)}")
    names = [label_name(k, class_names) for k in labels.tolist()]
    groups = {"cluster": [_cluster_name(k) for k in clustering.labels.tolist()]}
    groups = ({"label": names} if (labels >= 0).any() else {}) | groups
    columns = int(np.ceil(np.sqrt(len(images))))
    sprite, tile = _small_sprite(images, columns)
    rows = members(clustering, labels, class_names)
    places, how = projections(latents)
    said = list(_remarks(rows, tile, _side(images)))
    return LatentMap(places, groups, sprite, columns, rows, notes + how + said)


def _remarks(rows: Sequence[ClusterRow], tile: int, side: int) -> Iterator[str]:
    empty = sum(row.size == 0 for row in rows)
    if empty:
        yield f"No image belongs to {empty} of the {len(rows)} clusters."
    if tile < side:
        yield f"Thumbnails have {tile} pixels a side, not {side}, so that the page stays small."


def projections(latents: Tensor) -> tuple[dict[str, list[tuple[float, float]]], list[str]]:
    """Latents (N, D) -> by name, N places in the unit square; and what to know about them."""
    points = latents.double().numpy()
    wide = np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))
    pca = PCA(2, random_state=0)
    flat = pca.fit_transform(wide) if wide.std(0).any() else np.zeros((len(wide), 2))
    share = float(flat.var(0).sum() / max(wide.var(0).sum(), 1e-300))
    found: dict[str, NDArray[Any]] = {"PCA": flat}
    notes = [f"PCA shows {share:.0%} of the variance."]
    if len(points) >= _FEW and points.shape[1] > 2:
        start = flat / (flat[:, 0].std() + 1e-12) * 1e-4  # the scale t-SNE starts from
        perplexity = min(30, len(points) // 4)
        tsne = TSNE(2, init=start, random_state=0, perplexity=perplexity)
        found["t-SNE"] = tsne.fit_transform(points)
        if find_spec("umap"):
            from umap import UMAP

            found["UMAP"] = UMAP(random_state=0, n_jobs=1).fit_transform(points)
        notes.append("In t-SNE and UMAP distances between groups mean little.")
    return {name: _unit_square(at) for name, at in found.items()}, notes


def _unit_square(points: NDArray[Any]) -> list[tuple[float, float]]:
    """Shifted and scaled, the same way along both axes."""
    low, high = points.min(0), points.max(0)
    side = float((high - low).max()) or 1.0
    centred = (points - (low + high) / 2) / side + 0.5
    return [(round(float(x), 4), round(1 - float(y), 4)) for x, y in centred]


def _side(images: Tensor) -> int:
    """Pixels of a thumbnail that has room."""
    return min(_THUMBNAIL, max(images.shape[-2:]))


def _small_sprite(images: Tensor, columns: int) -> tuple[bytes, int]:
    """Thumbnails as large as the page has room for, and their side."""
    tile = _side(images)
    content = thumbnails(images, columns, tile)
    while len(content) > _SPRITE and tile > 1:
        tile = max(1, tile * 2 // 3)
        content = thumbnails(images, columns, tile)
    return content, tile


def thumbnails(images: Tensor, columns: int, tile: int) -> bytes:
    """A WebP of all images (N, C, H, W), `tile` pixels a side, without gaps."""
    small = interpolate(images.float(), (tile, tile), mode="bilinear", antialias=True)
    sheet = to_pil(grid(small.clamp(0, 1), columns, 0))
    buffer = io.BytesIO()
    sheet.save(buffer, format="WEBP", quality=85)
    return buffer.getvalue()


def members(clustering: Clustering, labels: Tensor, class_names: Sequence[str]) -> list[ClusterRow]:
    """One row a cluster, the largest first; noise last. Clusters that nobody chose are rows too.

    Args:
        clustering: of N images.
        labels: (N,), -1 where there is none.
        class_names: of the labels; empty for their numbers.
    """
    found = []
    for k in sorted({*range(len(clustering.centres)), *clustering.labels.tolist()}):
        inside = (clustering.labels == k).nonzero().flatten()
        order = inside[clustering.confidence[inside].argsort(descending=True, stable=True)]
        row = order.tolist()
        borderline = row[::-1][: min(_MEMBERS, max(0, len(row) - _MEMBERS))]
        label = _majority(labels[inside], class_names)
        found.append(ClusterRow(_cluster_name(k), len(row), label, row[:_MEMBERS], borderline))
    return sorted(found, key=lambda row: (row.name == "noise", -row.size))


def _majority(labels: Tensor, class_names: Sequence[str]) -> str:
    known = labels[labels >= 0]
    if not len(known):
        return ""
    counts = known.bincount()
    most = label_name(int(counts.argmax()), class_names)
    return f"{most}, {int(counts.max()) / len(known):.0%}"


def _cluster_name(k: int) -> str:
    return "noise" if k < 0 else str(k)
