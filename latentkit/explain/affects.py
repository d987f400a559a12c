"""What a direction affects, in numbers: where, how much, and how far it can be walked."""

from dataclasses import dataclass

import torch
from torch import Tensor

from latentkit.explain.agreement import spearman

_CHANGED = 0.25  # of the largest change: a place is affected where it changes by more


@dataclass(frozen=True)
class Affected:
    """Where a direction changes images, on average over N of them.

    Attributes:
        area: share of the places that change by more than a quarter of the largest change.
        centre: of the change, along each axis, from 0 (first row, column) to 1 (last); None if
            nothing changes.
        spread: root mean square distance of the change from its centre, in sides of the image;
            None if nothing changes.
    """

    area: float
    centre: tuple[float, ...] | None
    spread: float | None


def affected(effects: Tensor) -> Affected:
    """Sums up effects (N, *S), not negative, such as `directions.effect` of one direction.

    Images in which nothing changes are left out.

    Returns:
        One summary over the images.

    Raises:
        ValueError: if they have no space, are negative or not finite.
    """
    if effects.ndim < 2 or not effects.isfinite().all() or bool((effects < 0).any()):
        raise ValueError(
            f"expected finite effects (N, *S) of 0 or more, got {tuple(effects.shape)}"
        )
    flat = effects.flatten(1).double()
    alive = flat.amax(1) > 0
    if not alive.any():
        return Affected(0.0, None, None)
    effects, flat = effects[alive].double(), flat[alive]
    area = (flat > _CHANGED * flat.amax(1, keepdim=True)).double().mean()
    share = (flat / flat.sum(1, keepdim=True)).reshape(effects.shape)
    centre, variance = [], torch.zeros((), dtype=torch.double)
    for axis in range(1, effects.ndim):
        others = [k for k in range(1, effects.ndim) if k != axis]
        profile = share.sum(others) if others else share
        place = (torch.arange(profile.shape[1], dtype=torch.double) + 0.5) / profile.shape[1]
        place = place.to(profile.device)
        middle = (profile * place).sum(1)
        variance = variance + (profile * (place - middle[:, None]).square()).sum(1).mean().cpu()
        centre.append(float(middle.mean()))
    return Affected(float(area), tuple(centre), float(variance.sqrt()))


def monotonicity(values: Tensor) -> float:
    """Does a value only rise along a walk? Values (N, T) at T >= 2 steps -> in [-1, 1].

    The mean over walks of Spearman's correlation with the step: 1 if each walk only rises, -1 if
    each only falls.

    Raises:
        ValueError: if values are not (N, T) at two steps or more.
    """
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(f"expected values (N, T) at two steps or more, got {tuple(values.shape)}")
    steps = torch.arange(values.shape[1], dtype=values.dtype, device=values.device)
    return float(spearman(values, steps.expand_as(values)).mean())


def reach(logits: Tensor, lengths: Tensor, least: float) -> float:
    """How far can a direction be walked before the discriminator objects?

    Args:
        logits: realness (N, T) of the images of N walks.
        lengths: (T,) distance of each step from the start, 0 or more.
        least: an image below this logit is objected to, such as the 5 % quantile of the logits of
            images that were not moved.

    Returns:
        The median over walks of the shortest length that is objected to; infinite if most walks
        meet none.

    Raises:
        ValueError: if logits and lengths do not fit.
    """
    if logits.ndim != 2 or lengths.shape != logits.shape[1:]:
        raise ValueError(
            f"expected logits (N, T) and lengths (T,), got {tuple(logits.shape)} and"
            f" {tuple(lengths.shape)}"
        )
    objected = torch.where(logits < least, lengths.to(logits), torch.inf)
    return float(objected.amin(1).median())


def moved_clusters(before: Tensor, after: Tensor) -> float:
    """Share of N images whose most likely of K clusters changes: (N, K) twice -> in [0, 1].

    Raises:
        ValueError: if the two are not of one shape (N, K).
    """
    if before.shape != after.shape or before.ndim != 2:
        raise ValueError(
            f"expected cluster scores (N, K) twice, got {tuple(before.shape)} and"
            f" {tuple(after.shape)}"
        )
    return float((before.argmax(1) != after.argmax(1)).double().mean())
