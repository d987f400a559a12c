"""Two groups of latents under an estimator: resampled, relabelled and cut into folds.

What the statistics in `latentkit.latent.uncertainty` and `latentkit.latent.alignment` share. The
rows of unpaired groups are sorted, so that no statistic depends on the order they came in. So that
no pattern of ranks is favoured in all data by one seed, random choices depend on the latents too.
"""

import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from latentkit.latent.attributes import Method, Strata, attribute, check_attribute, mean_difference
from latentkit.latent.points import row_keys

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Weights: TypeAlias = npt.NDArray[Any]
"""How often each row counts: (B, N), integers or booleans."""

FITTED = ("svm", "lda")
"""Estimators that have to be fitted anew to each resample, and have no length."""


@dataclass(frozen=True)
class Contrast:
    """Two groups, one estimator.

    Attributes:
        start: (N, D).
        end: (M, D); the pairs of the rows of `start` where the method is "paired".
        method: of `attribute`.
        cells: the stratum of each row of start (N,) and of end (M,), ascending; zeros where the
            method is not "balanced".
    """

    start: Floats
    end: Floats
    method: Method
    cells: tuple[Integers, Integers]

    @property
    def paired(self) -> bool:
        """Whether the rows are pairs."""
        return self.method == "paired"

    @property
    def shared(self) -> list[int]:
        """The strata that both groups have."""
        return sorted(set(self.cells[0].tolist()) & set(self.cells[1].tolist()))

    def estimates(self, start: Weights, end: Weights) -> Floats:
        """What the estimator gives for B resamples: (B, N), (B, M) -> (B, D).

        Differences of means as they are, the fitted estimators as unit vectors. A resample whose
        means are equal points nowhere: zero.
        """
        if self.method in FITTED:
            fits = [
                self._fit(np.repeat(self.start, a, 0), np.repeat(self.end, b, 0))
                for a, b in zip(start.astype(int), end.astype(int), strict=True)
            ]
            return np.stack(fits)
        total = np.zeros((len(start), self.start.shape[1]))
        seen = np.zeros((len(start), 1))
        for cell in self.shared:
            a, b = (rows == cell for rows in self.cells)
            n, m = start[:, a].sum(1, keepdims=True), end[:, b].sum(1, keepdims=True)
            ends = end[:, b] @ self.end[b] / np.maximum(m, 1)
            starts = start[:, a] @ self.start[a] / np.maximum(n, 1)
            both = (n > 0) & (m > 0)
            total, seen = total + both * (ends - starts), seen + both
        return np.asarray(total / np.maximum(seen, 1))

    def _fit(self, start: Floats, end: Floats) -> Floats:
        a, b = torch.from_numpy(start), torch.from_numpy(end)
        if not mean_difference(a, b).any():
            return np.zeros(start.shape[1])
        return np.asarray(attribute(a, b, self.method).numpy())

    def resamples(self, count: int, rng: np.random.Generator) -> tuple[Weights, Weights]:
        """Weights of stratified bootstrap resamples: (count, N) and (count, M)."""
        start = _drawn(self.cells[0], count, rng)
        return start, start if self.paired else _drawn(self.cells[1], count, rng)

    @property
    def whole(self) -> tuple[Weights, Weights]:
        """Weights of the groups as they are: (1, N) and (1, M)."""
        return np.ones((1, len(self.start)), int), np.ones((1, len(self.end)), int)

    def labels(self, count: int, rng: np.random.Generator) -> Weights:
        """Labels (count, N + M), true for the end, of the rows of `pooled` under the null.

        Within strata where there are any; of pairs, a random one is the end.
        """
        if self.paired:
            flips = rng.random((count, len(self.start))) < 0.5
            return np.concatenate([flips, ~flips], 1)
        cells = self.pooled.cells[0]
        found = np.zeros((count, len(cells)), bool)
        for cell in np.unique(cells):
            rows = np.flatnonzero(cells == cell)
            order = rng.random((count, len(rows))).argsort(1)
            found[:, rows] = order < (self.cells[1] == cell).sum()
        return found

    @cached_property
    def pooled(self) -> "Contrast":
        """All rows as both groups, in one order whatever their labels, to be weighted by them."""
        cells, rows = np.concatenate(self.cells), np.concatenate([self.start, self.end])
        if not self.paired:
            order = _order(rows, cells)
            rows, cells = rows[order], cells[order]
        return replace(self, start=rows, end=rows, cells=(cells, cells))

    def generator(self, seed: int) -> np.random.Generator:
        """Random numbers of the seed and the latents, the same for every labelling of them.

        Args:
            seed: of the numbers, beside the latents.
        """
        rows = _of_pairs(self.start, self.end) if self.paired else self.pooled.start
        return np.random.default_rng([seed, zlib.crc32((rows + 0.0).tobytes())])

    def relabelled(self, labels: Weights) -> "Contrast":
        """The groups that one row of `labels` (N + M,) makes, of the same sizes."""
        if self.paired:
            flips = labels[: len(self.start), None]
            swapped = np.where(flips, self.end, self.start), np.where(flips, self.start, self.end)
            return replace(self, start=swapped[0], end=swapped[1])
        rows = self.pooled.start
        return replace(self, start=rows[~labels], end=rows[labels])

    def folds(self, most: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
        """A fold for each row of start (N,) and of end (M,), 0 to at most `most` - 1.

        Each fold has a share of every stratum, and pairs share a fold.
        """
        smallest = [min((rows == cell).sum() for rows in self.cells) for cell in self.shared]
        count = int(min(most, max(smallest)))
        start = _dealt(self.cells[0], count, rng)
        return start, start if self.paired else _dealt(self.cells[1], count, rng)


def contrast(start: Tensor, end: Tensor, method: Method, strata: Strata | None) -> Contrast:
    """Checks two groups for statistics on them, and puts them in an order of their own.

    Every statistic takes the latents (of pairs: the pairs) as independent. One image that is in
    both groups is not, which makes p and AUC wrong. Which latents are of one image only the caller
    knows; here it shows by equal numbers, unless latents are equal within a group, too, as those of
    few possible values are. `repeated` counts these.

    Raises:
        ValueError: as `attribute` does, if a group has less than two latents, or if a latent equals
            one of the other group (but for pairs, whose difference may be zero).
    """
    check_attribute(start, end, method, strata)
    if min(len(start), len(end)) < 2:
        raise ValueError(
            "expected at least 2 latents in each group to tell an error from, got "
            f"{len(start)} and {len(end)}"
        )
    if method != "paired":
        _check_apart(start, end)
    a, b = (group.detach().to("cpu", torch.float64).numpy() for group in (start, end))
    given = strata or (torch.zeros(len(start)), torch.zeros(len(end)))
    cells = [cell.cpu().long().numpy() for cell in given]
    if method == "paired":
        orders = [_order(_of_pairs(a, b), cells[0])] * 2
    else:
        orders = [_order(a, cells[0]), _order(b, cells[1])]
    sorted_cells = cells[0][orders[0]], cells[1][orders[1]]
    return Contrast(a[orders[0]], b[orders[1]], method, sorted_cells)


def repeated(start: Tensor, end: Tensor, paired: bool = False) -> int:
    """How many latents of the two groups, or pairs, are copies of another of their group.

    Args:
        start: (N, D).
        end: (M, D).
        paired: rows are pairs, and a copy is one of both.
    """
    groups = [torch.cat([start, end], 1)] if paired else [start, end]
    return sum(len(group) - len(set(row_keys(group))) for group in groups)


def _check_apart(start: Tensor, end: Tensor) -> None:
    known = set(row_keys(end))
    shared = sum(key in known for key in row_keys(start))
    if shared and not repeated(start, end):
        raise ValueError(
            f"expected groups without a latent in common, got {shared} of {len(start)} in start "
            "that equal one in end: no statistic holds for such groups; leave them out of one group"
        )


def _of_pairs(start: Floats, end: Floats) -> Floats:
    """What is the same when the two of a pair are swapped: (N, 2 D)."""
    return np.concatenate([start + end, np.abs(start - end)], 1)


def _order(rows: Floats, cells: Integers) -> Integers:
    """By stratum, then by the first coordinate, then by the second..."""
    return np.lexsort([*rows.T[::-1], cells])


def _drawn(cells: Integers, count: int, rng: np.random.Generator) -> Weights:
    found = np.zeros((count, len(cells)), np.int64)
    for cell in np.unique(cells):
        rows = cells == cell
        size = int(rows.sum())
        found[:, rows] = rng.multinomial(size, np.full(size, 1 / size), size=count)
    return found


def _dealt(cells: Integers, count: int, rng: np.random.Generator) -> Integers:
    order = np.lexsort([rng.random(len(cells)), cells])
    found = np.empty(len(cells), np.int64)
    found[order] = np.arange(len(cells)) % count
    return found
