"""Is what a heatmap marks enough for the score? And what all metrics of heatmaps share.

Heatmaps are (N, *S_layer) in one to three dimensions, at any size: metrics resize them to the image
linearly. A judge is asked for the score of changed images, without gradients.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Judge: TypeAlias = Callable[[Tensor], Tensor]
"""Images (n, C, *S) -> one value each (n,), each image by itself: put a network in eval mode."""

_VALUES = 2**21  # image values judged at a time: 8 MB in single precision
_MODES = ("linear", "bilinear", "trilinear")


class Confidence(NamedTuple):
    """Scores of images and of what their heatmaps leave of them.

    Attributes:
        whole: (N,) of the images.
        part: (N,) of the images times their heatmaps.
    """

    whole: Tensor
    part: Tensor

    def drop(self) -> Tensor:
        """Share of the score that is lost, (N,) per cent in [0, 100]; the mean is Average Drop."""
        lost = (self.whole - self.part).clamp_min(0)
        return 100 * lost / self.whole

    def increase(self) -> Tensor:
        """100 where the score rises, else 0, (N,); the mean is Increase in Confidence."""
        return 100 * (self.part > self.whole).to(self.whole)


def confidence(score: Judge, x: Tensor, maps: Tensor) -> Confidence:
    """Ask for the score of each image and of the image times its heatmap.

    Chattopadhay et al., "Grad-CAM++", WACV 2018 (arXiv 1710.11063). The heatmap is resized, cut at
    zero and divided by its largest value, so one without positive values leaves a black image.

    Args:
        score: positive values, such as the probability of a class.
        x: (N, C, *S) images.
        maps: (N, *S_layer), larger where it matters more.

    Raises:
        ValueError: if maps or scores do not fit the images, maps are not finite, or scores are not
            positive (those of the parts: negative): shares of a logit mean nothing.
    """
    kept = fitted(maps, x).clamp_min(0)
    top = kept.flatten(1).amax(1).clamp_min(torch.finfo(kept.dtype).tiny)
    kept = (kept / top.view(-1, *[1] * (kept.ndim - 1)))[:, None]
    whole = judged(score, (x[rows] for rows in portions(len(x), x)))
    part = judged(score, (x[rows] * kept[rows].to(x) for rows in portions(len(x), x)))
    if not (whole > 0).all() or not (part >= 0).all():
        raise ValueError(
            f"expected positive scores, got {float(whole.min()):g} for an image and"
            f" {float(part.min()):g} for its part; score probabilities (softmax or sigmoid)"
        )
    return Confidence(whole, part)


def wins(drops: Tensor) -> Tensor:
    """Which method loses least on each image? The mean over images is Win %.

    Chattopadhay et al., WACV 2018 (arXiv 1710.11063).

    Args:
        drops: (M, N) of M methods, from `Confidence.drop`.

    Returns:
        (M, N), 100 where the method's drop is below that of all others, else 0: ties win nothing.

    Raises:
        ValueError: if there are fewer than two methods.

    >>> wins(torch.tensor([[10.0, 5.0, 3.0], [20.0, 2.0, 3.0]]))
    tensor([[100.,   0.,   0.],
            [  0., 100.,   0.]])
    """
    if drops.ndim != 2 or len(drops) < 2:
        raise ValueError(f"expected drops (M, N) of 2 methods or more, got {tuple(drops.shape)}")
    least = drops == drops.amin(0)
    return 100 * (least & (least.sum(0) == 1)).to(drops)


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (N, *S) in one to three dimensions -> (N, *size), by linear interpolation.

    Raises:
        ValueError: if the size does not fit the maps, or they have no space or more than three
            dimensions.
    """
    rank = maps.ndim - 1
    if len(size) != rank or not 1 <= rank <= 3:
        raise ValueError(
            f"expected a size with one number for each of the {rank} dimensions of maps"
            f" {tuple(maps.shape)}, one to three, got {tuple(size)}"
        )
    mode = _MODES[rank - 1]
    return functional.interpolate(maps[:, None], tuple(size), mode=mode, align_corners=False)[:, 0]


def fitted(maps: Tensor, x: Tensor) -> Tensor:
    """Finite maps (N, *S_layer) for images x (N, C, *S) -> (N, *S), at least single precision.

    Raises:
        ValueError: if maps and images do not fit, or a map is not finite.
        TypeError: if the images are not floating point.
    """
    if x.ndim != maps.ndim + 1 or len(x) != len(maps) or len(x) < 1:
        raise ValueError(
            f"expected images (N, C, *S) with one map (N, *S_layer) each, got {tuple(x.shape)} and"
            f" {tuple(maps.shape)}"
        )
    if not x.is_floating_point():
        raise TypeError(f"expected floating-point images, got {x.dtype}; use images in [0, 1]")
    good = maps.isfinite().flatten(1).all(1)
    if not good.all():
        bad = (~good).nonzero().flatten().tolist()
        raise ValueError(f"expected finite maps, got NaN or infinity in the maps of images {bad}")
    return resize(maps.detach().to(torch.promote_types(maps.dtype, torch.float32)), x.shape[2:])


def ranks(maps: Tensor) -> Tensor:
    """How many places of a map come before each: by value, largest first, then by position.

    Args:
        maps: (N, *S) finite.

    Returns:
        (N, *S) int64, each of 0 ... P - 1 once in each map.

    >>> ranks(torch.tensor([[1.0, 7.0, 1.0]]))
    tensor([[1, 0, 2]])
    """
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).reshape(maps.shape)


def portions(count: int, x: Tensor) -> Iterator[Tensor]:
    """Numbers 0 ... count - 1 in portions, so that one image like x[i] for each stays small.

    Args:
        count: how many images there will be.
        x: (N, C, *S), for the size of one and for its device.
    """
    together = max(1, _VALUES // max(1, x[0].numel()))
    return iter(torch.split(torch.arange(count, device=x.device), together))


@torch.no_grad()
def judged(score: Judge, images: Iterable[Tensor]) -> Tensor:
    """Scores of batches of images, one after the other, (N,) in at least single precision.

    Raises:
        ValueError: if the score is not one value per image.
    """
    found = []
    for batch in images:
        value = score(batch)
        if not isinstance(value, Tensor) or value.shape != (len(batch),):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"expected a score with one value per image, ({len(batch)},), got {got}"
            )
        found.append(value.to(torch.promote_types(value.dtype, torch.float32)))
    return torch.cat(found)
