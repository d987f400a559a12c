"""Directions that stand for an attribute, from latents without it and latents with it."""

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from latentkit.latent.points import check_labels, check_points

Method: TypeAlias = Literal["centroid", "balanced", "paired", "svm", "lda"]
"""How to find an attribute's direction: see `attribute`."""
Strata: TypeAlias = tuple[Tensor, Tensor]
"""The confound's value for each latent of the start (N,) and of the end (M,), integers."""


def attribute(
    start: Tensor, end: Tensor, method: Method = "centroid", *, strata: Strata | None = None
) -> Tensor:
    """The direction from one group of latents to the other.

    "centroid" is the difference of the groups' means: Larsen et al., "Autoencoding beyond pixels
    using a learned similarity metric", ICML 2016 (arXiv 1512.09300), section 4. It takes along
    whatever else differs between the groups. "balanced" does not take along a known confound:
    the mean over its values of the difference within each (White, "Sampling Generative Networks",
    2016, arXiv 1609.04468, balances by replication); values that only one group has do not count.
    "paired" is the mean difference of pairs, row by row: "centroid" of equally many, but what is
    the same in both of a pair adds no error (see `latentkit.latent.uncertainty`).

    "svm" is the normal of the linear support vector machine between the groups: Shen et al.,
    "Interpreting the Latent Space of GANs for Semantic Face Editing", CVPR 2020
    (arXiv 1907.10786); both groups weigh the same. "lda" is Fisher's discriminant
    S^-1 (mean difference), with the covariance S within the groups shrunk as in Ledoit and Wolf,
    "A well-conditioned estimator for large-dimensional covariance matrices", 2004. These two tell
    the groups apart best, which is not what moves one to the other: where coordinates vary
    together they differ from the difference of means on purpose.

    Args:
        start: (N, D) latents without the attribute.
        end: (M, D) latents with it; for "paired" N of them, each the pair of the same row.
        method: see above.
        strata: for "balanced", and for it alone.

    Returns:
        (D,) unit vector that points to `end`.

    Raises:
        ValueError: if the groups are not finite latents of one D, their means are equal, the method
            is unknown, the strata are missing, superfluous, or share no value, or pairs do not fit.

    >>> attribute(torch.zeros(1, 2), torch.tensor([[0.0, 4.0], [0.0, 2.0]]))
    tensor([0., 1.])
    """
    check_attribute(start, end, method, strata)
    difference = mean_difference(start, end, strata)
    if not difference.any():
        raise ValueError(
            f"expected groups with different means, got {len(start)} and {len(end)} latents whose "
            "means are equal; is one attribute value in both groups?"
        )
    fitted: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"svm": _svm, "lda": _lda}
    if method in fitted:
        difference = fitted[method](start.detach(), end.detach()).to(start.device)
    length = torch.linalg.vector_norm(difference)
    direction: Tensor = (difference / length).to(start.dtype)
    return direction


def check_attribute(
    start: Tensor, end: Tensor, method: Method = "centroid", strata: Strata | None = None
) -> None:
    """Raise ValueError unless `attribute` can compare the groups in this way."""
    if method not in get_args(Method):
        raise ValueError(f"expected method to be one of {get_args(Method)}, got {method!r}")
    _check_groups(start, end)
    if method == "paired" and len(start) != len(end):
        raise ValueError(
            f"expected pairs, as many latents in both groups, got {len(start)} and {len(end)}"
        )
    if (method == "balanced") != (strata is not None):
        given = "none" if strata is None else f"some for {method!r}"
        raise ValueError(f"expected strata for method 'balanced' and for it alone, got {given}")
    if strata is not None:
        check_labels(strata[0], len(start))
        check_labels(strata[1], len(end))
        sizes = [len(set(labels.tolist())) for labels in strata]
        if not torch.isin(strata[0], strata[1]).any():
            raise ValueError(
                f"expected strata that both groups have in part, got {sizes[0]} and {sizes[1]} "
                "with none in common: the attribute cannot be told from the confound"
            )


def mean_difference(start: Tensor, end: Tensor, strata: Strata | None = None) -> Tensor:
    """The mean of `end` (M, D) less that of `start` (N, D), or the mean over shared strata of it.

    Returns:
        (D,) in double precision; all zero if it is no longer than rounding alone makes it, as for
        equal groups in another order.
    """
    cells = [(start, end)]
    if strata is not None:
        shared = sorted(set(strata[0].tolist()) & set(strata[1].tolist()))
        cells = [(start[strata[0] == s], end[strata[1] == s]) for s in shared]
    wide = torch.float64
    each = [b.mean(0, dtype=wide) - a.mean(0, dtype=wide) for a, b in cells]
    difference = torch.stack(each).mean(0)
    largest = max(start.abs().max().item(), end.abs().max().item())
    noise = 4 * torch.finfo(wide).eps * largest * start.shape[1] ** 0.5  # of each coordinate
    length = torch.linalg.vector_norm(difference)
    return torch.where(length > noise, difference, 0)


def _svm(start: Tensor, end: Tensor) -> Tensor:
    z = torch.cat([start, end]).to("cpu", torch.float64)
    centred = z - z.mean(0)
    # One scale for all coordinates: the strength of the regularisation must not depend on the unit.
    scaled = centred / centred.square().mean().sqrt()
    from sklearn.svm import LinearSVC  # here: other directions start without scikit-learn

    machine = LinearSVC(class_weight="balanced", dual=False, tol=1e-6, max_iter=10_000)
    machine.fit(scaled.numpy(), (torch.arange(len(z)) >= len(start)).numpy())
    return torch.from_numpy(machine.coef_[0])


def _lda(start: Tensor, end: Tensor) -> Tensor:
    a, b = (group.to("cpu", torch.float64) for group in (start, end))
    delta = b.mean(0) - a.mean(0)
    within = torch.cat([a - a.mean(0), b - b.mean(0)])
    if not within.any():  # one latent in each group: nothing is known of how they vary
        return delta
    from sklearn.covariance import ledoit_wolf

    covariance = torch.from_numpy(ledoit_wolf(within.numpy(), assume_centered=True)[0])
    solved: Tensor = torch.linalg.solve(covariance, delta)
    return solved


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
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth.numpy(), (z @ direction.detach().to(z)).numpy()))


def _check_groups(start: Tensor, end: Tensor) -> None:
    check_points(start, "start")
    check_points(end, "end")
    if start.shape[1] != end.shape[1] or start.dtype != end.dtype:
        raise ValueError(
            "expected groups (N, D) and (M, D) of one D and dtype, got "
            f"{tuple(start.shape)} {start.dtype} and {tuple(end.shape)} {end.dtype}"
        )
