"""How far to trust a heatmap of a direction: measured against what the generator changes.

Overlap with a mask flatters: on images with one object the plain brightness of the image scores
well. What a heatmap of a direction must show is WHICH direction it belongs to, so the headline is
`direction_retrieval`, where a map that is the same for every direction can never win.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentkit.metrics.saliency import resize

_SAME = 1e-6  # residuals below this share of a map's norm are rounding errors
_TIE = 1e-9  # cosines in double precision this near are equal
_RIVALS = 5  # directions that a map is told from, its own among them, at least
_TOGETHER = 64  # images whose maps are compared at a time, in double precision


@dataclass(frozen=True, eq=False)
class Retrieval:
    """How often the map of a direction found that direction's own truth.

    Attributes:
        accuracy: share of trials won, in [0, 1].
        chance: 1 / K.
        per_direction: accuracy of each direction, (K,).
        trials: K * N.
        interval: 95 % interval of the accuracy by Wilson's formula with n = N images, since the K
            trials of one image are not independent.
        won: (K, N) bool, each trial.
        margin: (K, N), cosine with the own truth minus the largest with another, in [-2, 2]; 0
            where map or truth is dead.
    """

    accuracy: float
    chance: float
    per_direction: Tensor
    trials: int
    interval: tuple[float, float]
    won: Tensor
    margin: Tensor

    @property
    def faithful(self) -> bool:
        """Whether the interval lies above chance."""
        return self.interval[0] > self.chance

    def only(self, k: int) -> "Retrieval":
        """Of direction k alone, still told from all."""
        share, trials = float(self.per_direction[k]), self.won.shape[1]
        rows = (values[[k]] for values in (self.per_direction, self.won, self.margin))
        per_direction, won, margin = rows
        interval = wilson(share, trials)
        return Retrieval(share, self.chance, per_direction, trials, interval, won, margin)


def with_rivals(vectors: Tensor, seed: int) -> Tensor:
    """Directions (K, *Z) and, where they are fewer than five, random ones to tell them from."""
    more = max(0, _RIVALS - len(vectors))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(more, *vectors.shape[1:], generator=generator).to(vectors)
    return torch.cat([vectors, drawn])


def direction_retrieval(maps: Tensor, truths: Tensor) -> Retrieval:
    """Is the map of d_k more like the truth of d_k than like the truth of any other direction?

    One trial for each image and direction. Absolute values count; each map is resized to the size
    of the truths and scaled to norm 1, and the mean over the directions of the same image is
    removed from maps and from truths. The winner has the largest cosine. Ties lose, and so do zero
    and non-finite maps or truths: maps that do not depend on the direction score 0. That is no
    measure of how well a direction-free map guesses: a guess wins 1 / K, which is what to compare
    with (`baselines.shuffled` draws such guesses).

    For intervals of differences take `mean_interval` of `won` or `margin`, averaged over the
    directions of each image, minus those of another method on the same images.

    Args:
        maps: (K, N, *S_layer), heatmaps of K directions for the same N images.
        truths: (K, N, *S), such as `directions.effect` of each.
    """
    _check(maps, truths)
    pairs = zip(torch.split(maps, _TOGETHER, 1), torch.split(truths, _TOGETHER, 1), strict=True)
    margin = torch.cat([_margin(some, true) for some, true in pairs], 1)
    won = margin > _TIE
    share = won.double().mean(1)
    accuracy = float(share.mean())
    interval = wilson(accuracy, won.shape[1])
    return Retrieval(accuracy, 1 / len(maps), share, won.numel(), interval, won, margin)


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of a share seen in n trials (Wilson, JASA 1927), in [0, 1].

    >>> [round(end, 3) for end in wilson(0.5, 100)]
    [0.404, 0.596]
    """
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _check(maps: Tensor, truths: Tensor) -> None:
    if maps.shape[:2] != truths.shape[:2] or maps.ndim != truths.ndim or maps.ndim < 3:
        raise ValueError(
            "expected maps (K, N, *S_layer) and truths (K, N, *S) of the same K, N and rank, got"
            f" {tuple(maps.shape)} and {tuple(truths.shape)}"
        )
    if maps.shape[0] < 2 or maps.shape[1] < 1:
        raise ValueError(
            f"expected at least 2 directions and one image, got {tuple(maps.shape[:2])}"
        )


def _margin(maps: Tensor, truths: Tensor) -> Tensor:
    """Cosine with the own truth minus the largest with another (K, N), 0 for the dead."""
    found, live = _residuals(_fitted(maps, truths))
    true, known = _residuals(truths)
    cosine = torch.einsum("knp,jnp->knj", found, true)
    own = cosine.diagonal(dim1=0, dim2=2).T  # (K, N)
    self_mask = torch.eye(len(maps), dtype=torch.bool, device=maps.device)[:, None]
    return torch.where(live & known, own - cosine.masked_fill(self_mask, -math.inf).amax(2), 0.0)


def _fitted(maps: Tensor, truths: Tensor) -> Tensor:
    """|maps| (K, N, *S_layer) -> (K, N, *S), at the size of the truths."""
    flat = resize(maps.abs().flatten(0, 1), truths.shape[2:])
    return flat.reshape(truths.shape)


def _residuals(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (K, N, *S) -> how each direction differs (K, N, P), norm 1 or 0; alive (K, N)."""
    flat = maps.detach().abs().double().flatten(2)
    flat = torch.where(flat.isfinite().all(2, keepdim=True), flat, 0.0)
    norm = flat.norm(dim=2, keepdim=True)
    flat = flat / norm.clamp_min(torch.finfo(flat.dtype).tiny)
    rest = flat - flat.mean(0)
    length = rest.norm(dim=2, keepdim=True)
    return rest / length.clamp_min(_SAME) * (length > _SAME), norm[..., 0] > 0
