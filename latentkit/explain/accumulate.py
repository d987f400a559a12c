"""What do heatmaps look like over a whole data set? Running mean and variance of |map|.

Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", The American Statistician
1983: batches are merged by their means and sums of squares around them, so any split of the data
gives the same numbers, without a second pass and without cancellation.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(eq=False)
class _Moments:
    """Of G groups.

    Attributes:
        count: (G, 1) float64.
        mean: (G, F) float64.
        squares: (G, F) float64, sum of squared distances to the mean.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def merged(self, other: "_Moments") -> "_Moments":
        count = self.count + other.count
        share = other.count / count.clamp_min(1)
        gap = other.mean - self.mean
        squares = self.squares + other.squares + gap.square() * self.count * share
        return _Moments(count, self.mean + gap * share, squares)


class MapStatistics:
    """Mean, variance and count of |map| over a stream of maps, in double precision on the CPU.

    >>> seen = MapStatistics()
    >>> seen.update(torch.tensor([[1.0, -2.0], [3.0, 2.0]]))
    >>> seen.mean, seen.variance, seen.count
    (tensor([2., 2.], dtype=torch.float64), tensor([2., 0.], dtype=torch.float64), tensor(2))

    Args:
        per: "position" keeps every place of maps (N, *F), whatever its shape; "channel" first
            averages |map| of (N, C, *S) over space, so that each sample has one value for each
            channel (an electrode, a frequency band).
        classes: K gives separate statistics for the samples of each class (a class atlas); None
            gives one for all.
    """

    def __init__(
        self, per: Literal["position", "channel"] = "position", classes: int | None = None
    ) -> None:
        if per not in ("position", "channel"):
            raise ValueError(f"expected per to be 'position' or 'channel', got {per!r}")
        if classes is not None and classes < 1:
            raise ValueError(f"expected 1 class or more, or None, got {classes}")
        self.per, self.classes = per, classes
        self._shape: torch.Size | None = None
        self._moments: _Moments | None = None

    def update(self, maps: Tensor, labels: Tensor | None = None) -> None:
        """Take in a batch; a batch that is refused changes nothing.

        Args:
            maps: (N, *F), or (N, C, *S) for "channel", of the same shape in every batch but for N.
            labels: (N,) integers in 0 ... classes - 1, where there are classes.

        Raises:
            ValueError: if a map is not finite (a broken map would hide in the mean for ever; leave
                such maps out to go on), shapes differ, or labels do not fit.
        """
        values = self._values(maps)
        groups = self._groups(labels, len(maps))
        self._take(_moments(values.flatten(1), groups, self.classes or 1), values.shape[1:])

    def merge(self, other: "MapStatistics") -> None:
        """Take in what another one has seen, such as a process with its share of the data.

        Args:
            other: of the same `per` and `classes`; it stays as it is.

        Raises:
            ValueError: if the other one accumulates something else.
        """
        ours, theirs = (self.per, self.classes), (other.per, other.classes)
        if ours != theirs:
            raise ValueError(f"expected statistics of per, classes = {ours}, got {theirs}")
        if other._moments is not None and other._shape is not None:
            self._take(other._moments, other._shape)

    @property
    def count(self) -> Tensor:
        """How many samples were seen: () int64, or (K,) with classes."""
        found = torch.zeros(self.classes or 1) if self._moments is None else self._moments.count
        count = found.flatten().long()
        return count[0] if self.classes is None else count

    @property
    def mean(self) -> Tensor:
        """Mean of |map|: (*F) or (C,) float64, after a leading K with classes; NaN where empty."""
        seen = self._seen()
        return self._shaped(torch.where(seen.count > 0, seen.mean, torch.nan))

    @property
    def variance(self) -> Tensor:
        """Unbiased variance over samples, as `mean`; NaN where fewer than two were seen."""
        seen = self._seen()
        freedom = torch.where(seen.count > 1, seen.count - 1, torch.nan)
        return self._shaped(seen.squares / freedom)

    def _values(self, maps: Tensor) -> Tensor:
        least = 3 if self.per == "channel" else 2
        if maps.ndim < least:
            wanted = "(N, C, *S)" if self.per == "channel" else "(N, *S)"
            raise ValueError(
                f"expected maps {wanted} per {self.per}, got shape {tuple(maps.shape)}"
            )
        values = maps.detach().to("cpu", torch.float64).abs()
        good = values.isfinite().flatten(1).all(1)
        if not good.all():
            bad = (~good).nonzero().flatten().tolist()
            raise ValueError(
                f"expected finite maps, got NaN or infinity in maps {bad} of the batch; leave them"
                " out to go on: maps[maps.isfinite().flatten(1).all(1)]"
            )
        return values.flatten(2).mean(2) if self.per == "channel" else values

    def _groups(self, labels: Tensor | None, count: int) -> Tensor:
        if (labels is None) != (self.classes is None):
            given = "none" if labels is None else "some"
            raise ValueError(f"expected labels if and only if there are classes, got {given}")
        if labels is None or self.classes is None:
            return torch.zeros(count, dtype=torch.long)
        groups = labels.detach().cpu()
        fits = groups.shape == (count,) and not groups.is_floating_point()
        if not fits or (count and not 0 <= int(groups.min()) <= int(groups.max()) < self.classes):
            raise ValueError(
                f"expected integer labels ({count},) from 0 to {self.classes - 1}, got"
                f" {labels.dtype} of shape {tuple(labels.shape)}"
            )
        return groups.long()

    def _take(self, moments: _Moments, shape: torch.Size) -> None:
        if self._shape is not None and shape != self._shape:
            raise ValueError(
                f"expected maps of shape {tuple(self._shape)} as before, got {tuple(shape)}"
            )
        self._shape = shape
        self._moments = moments if self._moments is None else self._moments.merged(moments)

    def _seen(self) -> _Moments:
        if self._moments is None:
            raise ValueError("expected maps first, got none yet: call update")
        return self._moments

    def _shaped(self, flat: Tensor) -> Tensor:
        shaped = flat.reshape(-1, *(self._shape or ()))
        return shaped[0] if self.classes is None else shaped


def _moments(values: Tensor, groups: Tensor, count: int) -> _Moments:
    """Values (N, F) in groups (N,) -> moments of each of `count` groups."""
    zero = values.new_zeros(count, values.shape[1])
    size = torch.bincount(groups, minlength=count).to(values)[:, None]
    mean = zero.index_add(0, groups, values) / size.clamp_min(1)
    squares = zero.index_add(0, groups, (values - mean[groups]).square())
    return _Moments(size, mean, squares)
