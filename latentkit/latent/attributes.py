"""Directions that stand for an attribute, from latents without it and latents with it."""

from typing import Literal, TypeAlias, get_args

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from latentkit.latent.points import check_points

Method: TypeAlias = Literal["centroid"]
"""How to find an attribute's direction."""


def attribute(start: Tensor, end: Tensor, method: Method = "centroid") -> Tensor:
    """The direction from one group of latents to the other.

    "centroid" is the difference of the groups' means: Larsen et al., "Autoencoding beyond pixels
    using a learned similarity metric", ICML 2016 (arXiv 1512.09300), section 4. It takes along
    whatever else differs between the groups (White 2016, arXiv 1609.04468).

    Args:
        start: (N, D) latents without the attribute.
        end: (M, D) latents with it.
        method: "centroid".

    Returns:
        (D,) unit vector that points to `end`.

    Raises:
        ValueError: if the groups are not finite latents of one D, their means are equal, or the
            method is unknown.

    >>> attribute(torch.zeros(1, 2), torch.tensor([[0.0, 4.0], [0.0, 2.0]]))
    tensor([0., 1.])
    """
    if method not in get_args(Method):
        raise ValueError(f"expected method to be one of {get_args(Method)}, got {method!r}")
    _check_groups(start, end)
    wide = torch.promote_types(start.dtype, torch.float32)
    difference = end.to(wide).mean(0) - start.to(wide).mean(0)
    length = torch.linalg.vector_norm(difference)
    # Means of equal groups in another order differ by rounding: no direction either.
    noise = 4 * torch.finfo(wide).eps * max(start.abs().max().item(), end.abs().max().item())
    if length <= noise:
        raise ValueError(
            f"expected groups with different means, got {len(start)} and {len(end)} latents whose "
            "means are equal; is one attribute value in both groups?"
        )
    direction: Tensor = (difference / length).to(start.dtype)
    return direction


def separation(start: Tensor, end: Tensor, direction: Tensor) -> float:
    """How well the projection on a direction tells the groups apart: its area under the ROC curve.

    In-sample: on the latents a direction was found with it flatters the direction (with D > N it
    is near 1 even for noise). Give latents that were held out to learn what it is worth.

    Args:
        start: (N, D) latents without the attribute.
        end: (M, D) latents with it.
        direction: (D,).

    Returns:
        P(a latent of `end` projects further than one of `start`), ties counting half: 0.5 is
        chance, 1 is perfect.

    Raises:
        ValueError: if the shapes do not fit or a latent is not finite.
    """
    _check_groups(start, end)
    if direction.shape != start.shape[1:]:
        raise ValueError(
            f"expected a direction of shape ({start.shape[1]},), got {tuple(direction.shape)}"
        )
    z = torch.cat([start, end]).detach().to("cpu", torch.float64)
    truth = torch.arange(len(z)) >= len(start)
    return float(roc_auc_score(truth.numpy(), (z @ direction.detach().to(z)).numpy()))


def _check_groups(start: Tensor, end: Tensor) -> None:
    check_points(start, "start")
    check_points(end, "end")
    if start.shape[1] != end.shape[1] or start.dtype != end.dtype:
        raise ValueError(
            "expected groups (N, D) and (M, D) of one D and dtype, got "
            f"{tuple(start.shape)} {start.dtype} and {tuple(end.shape)} {end.dtype}"
        )
