"""How far to trust a heatmap of a direction: measured against what the generator changes.

Overlap with a mask flatters: on images with one object the plain brightness of the image scores
well. What a heatmap of a direction must show is WHICH direction it belongs to, so the headline is
`direction_retrieval`, where a map that is the same for every direction can never win. Beating a
guess is not enough: a readout of features beats it with random weights too, and a network that has
learned nothing makes the same lucky hits in every image. `Retrieval.shortcomings` says what counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from latentkit.explain import scores
from latentkit.metrics.bootstrap import mean_interval, wilson
from latentkit.metrics.saliency import resize

_SAME = 1e-6  # residuals below this share of a map's norm are rounding errors
_TIE = 1e-9  # cosines in double precision this near are equal
_RIVALS = 5  # directions that a map is told from, its own among them, at least
_TIMES_CHANCE = 2  # what a faithful reading reaches at least
_ALIKE = 1 - 1e-6  # |cosine| of directions that lie along one line
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
        together: accuracy over all directions, after `only` too.
        control_won: (K, N), the share of networks with random weights that won each trial; None
            where no such network was measured.
    """

    accuracy: float
    chance: float
    per_direction: Tensor
    trials: int
    interval: tuple[float, float]
    won: Tensor
    margin: Tensor
    together: float
    control_won: Tensor | None = None

    @property
    def control(self) -> float | None:
        """Accuracy with random weights, the mean over networks."""
        return None if self.control_won is None else float(self.control_won.mean())

    @cached_property
    def gain(self) -> tuple[float, float] | None:
        """95 % interval over images of what is won more than with random weights."""
        if self.control_won is None:
            return None
        return mean_interval((self.won.double() - self.control_won).mean(0))

    @cached_property
    def shortcomings(self) -> tuple[str, ...]:
        """In plain words, what keeps the maps from being called faithful; empty if nothing does.

        Faithful maps are told apart more often than by a guess (95 % over images), at least twice
        as often, more often than with random weights where those were measured (95 % over images,
        pairwise), and all directions together more often than luck would have it (95 % over
        directions).
        """
        # The images of one network share its luck: over directions too it must not be a guess.
        over_directions = wilson(self.together, round(1 / self.chance))
        guess = self.interval[0] <= self.chance
        failed = {
            "no better than a guess": guess,
            "less than twice as good as a guess": not guess
            and self.accuracy < _TIMES_CHANCE * self.chance,
            "too few directions told apart to rule out luck": not guess
            and over_directions[0] <= self.chance,
        }
        if self.gain is not None and self.gain[0] <= 0:
            failed[f"no better than with random weights ({self.control:.2f})"] = True
        return tuple(words for words, is_so in failed.items() if is_so)

    @property
    def faithful(self) -> bool:
        """Whether nothing speaks against trusting the maps."""
        return not self.shortcomings

    def only(self, k: int) -> "Retrieval":
        """Of direction k alone, still told from all.

        Args:
            k: place of the direction, from 0.
        """
        share, trials = float(self.per_direction[k]), self.won.shape[1]
        rows = (values[[k]] for values in (self.per_direction, self.won, self.margin))
        per_direction, won, margin = rows
        return replace(
            self,
            accuracy=share,
            per_direction=per_direction,
            trials=trials,
            interval=wilson(share, trials),
            won=won,
            margin=margin,
            control_won=None if self.control_won is None else self.control_won[[k]],
        )


def measurable(vectors: Tensor) -> bool:
    """Whether directions (K, *Z) can be told apart: not where there is one latent dimension."""
    return vectors[0].numel() > 1


def with_rivals(vectors: Tensor, seed: int, names: Sequence[str] = ()) -> Tensor:
    """Directions (K, *Z) and, where they are fewer than five, random ones to tell them from.

    Args:
        vectors: the directions.
        seed: of the random ones.
        names: of the directions, for the error.

    Returns:
        (max(K, 5), *Z), the given ones first.

    Raises:
        ValueError: two of the directions lie along one line, so no map could tell them apart.
    """
    _check_lines(vectors, names or [f"direction {k + 1}" for k in range(len(vectors))])
    more = max(0, _RIVALS - len(vectors))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(more, *vectors.shape[1:], generator=generator).to(vectors)
    return torch.cat([vectors, drawn])


def direction_retrieval(maps: Tensor, truths: Tensor, controls: Sequence[Tensor] = ()) -> Retrieval:
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
        controls: maps as `maps`, each of a network with random weights (see `control`).

    Raises:
        ValueError: if maps and truths differ in K, N or rank, or there is one direction alone.
    """
    _check(maps, truths)
    pairs = zip(torch.split(maps, _TOGETHER, 1), torch.split(truths, _TOGETHER, 1), strict=True)
    margin = torch.cat([_margin(some, true) for some, true in pairs], 1)
    won = margin > _TIE
    share = won.double().mean(1)
    accuracy = float(share.mean())
    interval = wilson(accuracy, won.shape[1])
    lucky = [direction_retrieval(some, truths).won.double() for some in controls]
    return Retrieval(
        accuracy=accuracy,
        chance=1 / len(maps),
        per_direction=share,
        trials=won.numel(),
        interval=interval,
        won=won,
        margin=margin,
        together=accuracy,
        control_won=torch.stack(lucky).mean(0) if lucky else None,
    )


def _check_lines(vectors: Tensor, names: Sequence[str]) -> None:
    """Refuses d and a multiple of it, -d too, but where there is no other direction."""
    if not measurable(vectors):
        return
    units = torch.stack([scores.unit_vector(v).double().flatten() for v in vectors])
    cosines = (units @ units.T).abs().fill_diagonal_(0)
    if cosines.max() > _ALIKE:
        i, j = sorted(divmod(int(cosines.argmax()), len(vectors)))
        raise ValueError(
            f"expected directions that differ, got {names[i]!r} and {names[j]!r} along one line,"
            " where no map can tell them apart: leave one out"
        )


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
