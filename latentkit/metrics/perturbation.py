"""Does the score follow when the places that a heatmap marks are changed, strongest first?

Places are ranked by value, ties by position (first in memory order first): to count both signs of
a signed map, give its absolute value.
"""

import math
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from latentkit.metrics.saliency import Judge, fitted, judged, portions, ranks

Baseline: TypeAlias = float | Tensor | Literal["blur"]
"""What stands for "nothing there": a constant, images that broadcast to (N, C, *S), or a blur."""


class Curve(NamedTuple):
    """A score against the share of places that were changed.

    Attributes:
        fractions: (T,), rising, in [0, 1].
        scores: (N, T).
    """

    fractions: Tensor
    scores: Tensor

    def auc(self) -> Tensor:
        """Mean height of each curve (N,), by the trapezoidal rule."""
        x = self.fractions.to(self.scores)
        area: Tensor = torch.trapezoid(self.scores, x, dim=1)
        return area / (x[-1] - x[0])

    def progress(self) -> "Curve":
        """The share of the way from the first to the last score: 0 at the start, 1 at the end.

        NaN for an image whose score ends where it began, up to rounding.
        """
        first, last = self.scores[:, :1], self.scores[:, -1:]
        noise = 4 * torch.finfo(first.dtype).eps * torch.maximum(first.abs(), last.abs())
        way = torch.where((last - first).abs() > noise, last - first, torch.nan)
        return Curve(self.fractions, (self.scores - first) / way)


def paste(score: Judge, start: Tensor, end: Tensor, maps: Tensor, steps: int = 50) -> Curve:
    """Paste the pixels of `end` into `start`, strongest first, and watch the score.

    Args:
        score: the judge.
        start: (N, C, *S) images.
        end: (N, C, *S) images.
        maps: (N, *S_layer), larger for the places to paste first.
        steps: T >= 1, how many portions the pixels are cut into; at most one pixel each.

    Returns:
        The curve at T + 1 fractions from 0, all of `start`, to 1, all of `end`.

    Raises:
        ValueError: if images, maps or scores do not fit together, maps are not finite, or steps
            are below 1.
    """
    if start.shape != end.shape:
        raise ValueError(
            f"expected two batches of images of one shape, got {tuple(start.shape)} and"
            f" {tuple(end.shape)}"
        )
    if steps < 1:
        raise ValueError(f"expected steps of 1 or more, got {steps}")
    rank = ranks(fitted(maps, start))[:, None]
    pixels = rank[0].numel()
    steps = min(steps, pixels)
    counts = torch.tensor([round(t * pixels / steps) for t in range(steps + 1)], device=rank.device)
    stop = counts.view(-1, *[1] * (start.ndim - 1))

    def mixed(pairs: Tensor) -> Tensor:
        row, step = pairs // (steps + 1), pairs % (steps + 1)
        return torch.where(rank[row] < stop[step], end[row], start[row])

    pairs = portions(len(start) * (steps + 1), start)
    scores = judged(score, map(mixed, pairs)).view(len(start), -1)
    return Curve(counts / pixels, scores)


def insertion(
    score: Judge, x: Tensor, maps: Tensor, baseline: Baseline = "blur", steps: int = 50
) -> Curve:
    """How soon does the score come when pixels of x appear, strongest first? A high AUC is good.

    Petsiuk et al., "RISE", BMVC 2018 (arXiv 1806.07421).

    Args:
        score: the judge.
        x: (N, C, *S) images.
        maps: (N, *S_layer).
        baseline: what x is inserted into; a blurred x in the paper.
        steps: see `paste`.

    Raises:
        ValueError: see `paste`; or the baseline does not broadcast to the images.
    """
    return paste(score, _absent(x, baseline), x, maps, steps)


def deletion(
    score: Judge, x: Tensor, maps: Tensor, baseline: Baseline = 0.0, steps: int = 50
) -> Curve:
    """How soon does the score go when pixels of x vanish, strongest first? A low AUC is good.

    Petsiuk et al., "RISE", BMVC 2018 (arXiv 1806.07421).

    Args:
        score: the judge.
        x: (N, C, *S) images.
        maps: (N, *S_layer).
        baseline: what the pixels are replaced by; the data's mean in the paper, so give 0.5 for
            photographs in [0, 1].
        steps: see `paste`.

    Raises:
        ValueError: see `paste`; or the baseline does not broadcast to the images.
    """
    return paste(score, x, _absent(x, baseline), maps, steps)


def insertion_along(
    score: Judge, start: Tensor, end: Tensor, maps: Tensor, steps: int = 50
) -> Tensor:
    """Do the places that a map of a direction marks carry the change along it? High is good.

    Pixels of end = G(z + a d) are pasted into start = G(z), strongest first; the AUC of
    (s(mixed) - s(start)) / (s(end) - s(start)). Let the score be of a network that did not make the
    map, and report the difference to a baseline's map (`explain.baselines`) on the same images:
    many a map that says nothing of the direction reaches 0.9.

    Args:
        score: the judge, such as the coordinate along d of another encoder.
        start: (N, C, *S) images.
        end: (N, C, *S) images.
        maps: (N, *S_layer), not negative: give |map|.
        steps: see `paste`.

    Returns:
        (N,), 0.5 on average for maps at random and a score that adds up over pixels; NaN where the
        score does not change. Where it hardly does, the value can be far outside [0, 1]:
        take medians, or leave such images out.

    Raises:
        ValueError: as `paste` does.
    """
    return paste(score, start, end, maps, steps).progress().auc()


def deletion_along(
    score: Judge, start: Tensor, end: Tensor, maps: Tensor, steps: int = 50
) -> Tensor:
    """As `insertion_along`, but pixels of start are pasted back into end: low is good.

    Args:
        score: as for `insertion_along`.
        start: (N, C, *S) images.
        end: (N, C, *S) images.
        maps: (N, *S_layer), not negative.
        steps: see `paste`.

    Returns:
        (N,), as `insertion_along`.

    Raises:
        ValueError: as `paste` does.
    """
    return 1 - paste(score, end, start, maps, steps).progress().auc()


def blurred(x: Tensor, sigma: float = 5.0) -> Tensor:
    """Gaussian blur of images in one to three dimensions; the border's values go on outside.

    Args:
        x: (N, C, *S).
        sigma: standard deviation in pixels, above 0; the window reaches to three of them.

    Returns:
        (N, C, *S).

    Raises:
        ValueError: if the images are not of rank 1 to 3 or sigma is not finite and above 0.
    """
    if not 0 < sigma < math.inf or not 3 <= x.ndim <= 5:
        raise ValueError(
            f"expected images (N, C, *S) of rank 1 to 3 and sigma above 0, got {tuple(x.shape)} and"
            f" {sigma}"
        )
    reach = math.ceil(3 * sigma)
    wide = torch.promote_types(x.dtype, torch.float32)
    taps = torch.arange(-reach, reach + 1, dtype=wide, device=x.device) / sigma
    taps = torch.softmax(-taps.square() / 2, 0)[None, None]
    out = x.to(wide)
    for axis in range(2, x.ndim):
        lines = out.movedim(axis, -1)
        padded = functional.pad(lines.reshape(-1, 1, x.shape[axis]), (reach, reach), "replicate")
        out = functional.conv1d(padded, taps).reshape(lines.shape).movedim(-1, axis)
    return out.to(x)


def _absent(x: Tensor, baseline: Baseline) -> Tensor:
    if isinstance(baseline, str):
        if baseline != "blur":
            raise ValueError(f"expected a number, images or 'blur' as baseline, got {baseline!r}")
        return blurred(x)
    try:
        return torch.as_tensor(baseline).to(x).expand_as(x)
    except RuntimeError as error:
        raise ValueError(
            f"expected a baseline that broadcasts to the images {tuple(x.shape)}, got"
            f" {tuple(torch.as_tensor(baseline).shape)}"
        ) from error
