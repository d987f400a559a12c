"""Is a heatmap where the truth is? Overlap with masks and with maps of a known change.

Absolute values count: for the parts that raise a score alone, give the map's ReLU. Truths and masks
are at the image's size (N, *S); maps (N, *S_layer) are resized to it linearly. All values come
one per image, so that intervals can be taken over images (`bootstrap.mean_interval`).
"""

import torch
from torch import Tensor

from latentkit.metrics.ranking import rank_correlation
from latentkit.metrics.saliency import fitted, ranks

_INSIDE = 0.5  # share of a pixel from which on it belongs to a mask


def pointing(maps: Tensor, masks: Tensor, tolerance: float = 0.0) -> Tensor:
    """Pointing game: is the strongest place of the map on the object, or near enough?

    Zhang et al., "Top-Down Neural Attention by Excitation Backprop", IJCV 2018 (arXiv 1608.00507).

    Args:
        maps: (N, *S_layer); of several strongest places the first counts.
        masks: (N, *S) bool, or the share of each pixel.
        tolerance: Euclidean distance in pixels up to which a miss still hits; 15 in the paper.

    Returns:
        (N,), 1 for a hit and 0 for a miss; a constant map points nowhere and misses.

    Raises:
        ValueError: if maps and masks do not fit, a map is not finite or the tolerance is negative.
    """
    if tolerance < 0:
        raise ValueError(f"expected a tolerance >= 0, got {tolerance}")
    strength = _strength(maps, masks)
    flat, column = strength.flatten(1), (-1, *[1] * (masks.ndim - 1))
    distance = torch.zeros(1, device=flat.device)
    for axis, peak in enumerate(torch.unravel_index(flat.argmax(1), strength.shape[1:])):
        size = strength.shape[1 + axis]
        places = torch.arange(size, device=flat.device).view(-1, *[1] * (masks.ndim - 2 - axis))
        distance = distance + (places - peak.view(column)).square()
    near = (distance <= tolerance**2) & (masks >= _INSIDE)
    return (near.flatten(1).any(1) & (flat.amax(1) > flat.amin(1))).to(flat)


def energy_in_mask(maps: Tensor, masks: Tensor) -> Tensor:
    """Share of the map that lies on the object.

    Wang et al., "Score-CAM", CVPR Workshops 2020 (arXiv 1910.01279).

    Args:
        maps: (N, *S_layer).
        masks: (N, *S) bool, or the share of each pixel.

    Returns:
        (N,) in [0, 1]; 0 for a map that is zero. A constant map gets the mask's share of the area.

    Raises:
        ValueError: if maps and masks do not fit or a map is not finite.
    """
    return object_attribution(maps, masks[:, None])[:, 0]


def object_attribution(maps: Tensor, masks: Tensor) -> Tensor:
    """Share of the map that lies on each of several objects.

    Args:
        maps: (N, *S_layer).
        masks: (N, O, *S) bool, or the share of each pixel, for O objects.

    Returns:
        (N, O) in [0, 1]; their sum is 1 where the masks share out the image. 0 for a zero map.

    Raises:
        ValueError: if maps and masks do not fit or a map is not finite.
    """
    weight = _strength(maps, masks[:, 0])
    on = (weight[:, None] * masks).flatten(2).sum(2)
    return on / weight.flatten(1).sum(1)[:, None].clamp_min(torch.finfo(weight.dtype).tiny)


def iou_equal_area(maps: Tensor, truths: Tensor, threshold: float = 0.25) -> Tensor:
    """Overlap of the strongest places of a map with those of the truth, at the same area.

    The truth's region is where |truth| exceeds `threshold` times its largest value in that image;
    the map's region is as many of its strongest pixels, after resizing, ties to the first.
    Wu et al., "StyleSpace Analysis", CVPR 2021 (arXiv 2011.12799) match areas alike.

    Args:
        maps: (N, *S_layer).
        truths: (N, *S).
        threshold: in [0, 1).

    Returns:
        Intersection over union (N,) in [0, 1]; 0 where the truth is zero.

    Raises:
        ValueError: if maps and truths do not fit, a map is not finite or the threshold is not as
            said.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"expected a threshold in [0, 1), got {threshold}")
    strength = _strength(maps, truths)
    size = truths.abs().flatten(1)
    region = size > threshold * size.amax(1, keepdim=True)
    chosen = ranks(strength).flatten(1) < region.sum(1, keepdim=True)
    union = (chosen | region).sum(1)
    return (chosen & region).sum(1) / union.clamp_min(1)


def foreground_spearman(maps: Tensor, truths: Tensor, threshold: float = 0.15) -> Tensor:
    """Rank correlation of maps and truths where anything changes at all.

    The foreground of an image is where any of its K truths exceeds `threshold` times the largest
    value of that truth: the background, where all agree that nothing happens, would give every map
    that is dark there a high correlation.

    Args:
        maps: (K, N, *S_layer), of K directions for the same N images.
        truths: (K, N, *S), such as `explain.directions.effect` of each.
        threshold: in [0, 1).

    Returns:
        Spearman's rho (K, N) in [-1, 1], tied values at their mean rank; 0 where the map or the
        truth is constant on the foreground.

    Raises:
        ValueError: if maps and truths do not fit, a map is not finite or the threshold is not as
            said.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"expected a threshold in [0, 1), got {threshold}")
    if maps.shape[:2] != truths.shape[:2] or len(maps) < 1:
        raise ValueError(
            "expected maps (K, N, *S_layer) and truths (K, N, *S) of the same K and N, got"
            f" {tuple(maps.shape)} and {tuple(truths.shape)}"
        )
    size = truths.abs().flatten(2)
    front = (size > threshold * size.amax(2, keepdim=True)).any(0)
    found = [_strength(m, t).flatten(1) for m, t in zip(maps, truths, strict=True)]
    return torch.stack([rank_correlation(a, b, front) for a, b in zip(found, size, strict=True)])


def _strength(maps: Tensor, truths: Tensor) -> Tensor:
    """|maps| (N, *S_layer) at the size of the truths (N, *S)."""
    like = truths if truths.is_floating_point() else truths.float()
    return fitted(maps.abs(), like[:, None])
