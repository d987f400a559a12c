"""Find the latents that decode to given images, for models without an encoder or to refine one.

Zhu et al., "Generative Visual Manipulation on the Natural Image Manifold", ECCV 2016
(arXiv 1609.03552), and Abdal et al., "Image2StyleGAN", ICCV 2019 (arXiv 1904.03189), optimise
latents the same way.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from latentkit.latent.inversion import Inversion
from latentkit.latent.points import check_size
from latentkit.latent.typicality import Known, penalty, project, tangent, typicality
from latentkit.metrics.reconstruction import mse, psnr
from latentkit.protocols import Decode, Encode, Prior

Start: TypeAlias = Tensor | Encode | None
"""Latents (N, *Z), an encoder, or None for the nearest of some samples of the prior."""
_BATCH = 256  # prior samples decoded at a time


@dataclass(frozen=True)
class Terms:
    """What an inversion minimises, image by image.

    Attributes:
        prior: of the latents. One of a known form (`typicality.Known`) adds
            `prior_weight` times what `typicality.penalty` rises above the start's (an encoder may
            lie outside its prior), and keeps the latents of every step on its support (the start
            counts as given, and is returned where no step is better).
        features: images (N, C, *S) -> features (N, ...), differentiable; adds `feature_weight`
            times the squared distance to the image's features, in units of their squared length.
        pixels: mean over pixels and channels of the absolute ("l1") or squared ("l2") difference;
            the squared one ends with fewer decibels lost.
        prior_weight: 0 or more.
        feature_weight: 0 or more.
    """

    prior: Prior | None = None
    features: Encode | None = None
    pixels: Literal["l1", "l2"] = "l2"
    prior_weight: float = 0.01
    feature_weight: float = 0.1

    def __post_init__(self) -> None:
        if self.pixels not in {"l1", "l2"}:
            raise ValueError(f"expected pixels to be l1 or l2, got {self.pixels!r}")
        if not (0 <= self.prior_weight < math.inf and 0 <= self.feature_weight < math.inf):
            raise ValueError(
                "expected prior_weight and feature_weight of 0 or more, got "
                f"{self.prior_weight} and {self.feature_weight}"
            )


def invert(
    decode: Decode,
    x: Tensor,
    start: Start = None,
    terms: Terms | None = None,
    steps: int = 300,
    lr: float = 0.1,
    samples: int = 512,
    generator: torch.Generator | None = None,
) -> Inversion:
    """Minimises the loss of `terms` over the latents by Adam, and keeps the best of every image.

    Images do not influence each other. The start counts as seen and has no prior term, so that the
    pixel error (with the feature term, if any) never ends above the start's. The step size falls
    to 0 along a cosine.

    Args:
        decode: latents (N, *Z) -> images (N, C, *S), differentiable, sample by sample (a model in
            eval mode).
        x: (N, C, *S) images in [0, 1].
        start: latents, an encoder, or None to take the nearest of `samples` prior samples.
        terms: of the loss; None for the pixels alone.
        steps: updates, 0 or more.
        lr: first step size, in units of the latents.
        samples: of the prior, to start from.
        generator: of these samples; None takes the global random state.

    Returns:
        The inversion; it carries no gradients.

    Raises:
        ValueError: if x or the start is not finite or does not fit, a number is out of range, there
            is nothing to start from, or `decode` carries no gradient.
    """
    terms = terms or Terms()
    _check(x, steps, lr)
    first = _starting(decode, x, start, terms, samples, generator).detach()
    _check_start(decode, first, tuple(x.shape))
    loss = _loss(decode, x, terms, first)
    z, history = _descend(loss, first, terms.prior, steps, lr)
    with torch.no_grad():
        image = decode(z)
        feature = None if terms.features is None else _feature_gap(terms.features, x)(image)
    known = isinstance(terms.prior, Known)
    typical = typicality(z, terms.prior) if known and terms.prior is not None else None
    return Inversion(z, image, first, mse(image, x), psnr(image, x), feature, typical, history)


@torch.no_grad()
def nearest(
    decode: Decode, x: Tensor, prior: Prior, n: int, generator: torch.Generator | None = None
) -> Tensor:
    """For every image the latent, of `n` samples of the prior, that decodes closest to it.

    Args:
        decode: latents (N, *Z) -> images (N, C, *S).
        x: (N, C, *S).
        prior: to draw from.
        n: how many, 1 or more.
        generator: of the samples; None takes the global random state.

    Returns:
        (N, *Z), by Euclidean distance of the pixels.

    Raises:
        ValueError: if n < 1, or `decode` gives images of another shape.
    """
    if n < 1:
        raise ValueError(f"expected 1 or more samples of the prior, got {n}")
    z = prior.sample(n, generator=generator).to(x)
    distances = []
    for batch in torch.split(z, _BATCH):
        images = decode(batch)
        _check_images(images, (len(batch), *x.shape[1:]))
        distances.append(torch.cdist(x.flatten(1), images.flatten(1)))
    return z[torch.cat(distances, dim=1).argmin(1)]


def _starting(
    decode: Decode,
    x: Tensor,
    start: Start,
    terms: Terms,
    samples: int,
    generator: torch.Generator | None,
) -> Tensor:
    if start is None:
        if terms.prior is None:
            raise ValueError(
                "nothing to start from: give start, latents or an encoder, or a prior in terms"
            )
        return nearest(decode, x, terms.prior, samples, generator)
    if isinstance(start, Tensor):
        z = start
    else:
        with torch.no_grad():
            z = start(x)
    if z.ndim < 2 or len(z) != len(x) or not z.is_floating_point() or not z.isfinite().all():
        raise ValueError(
            f"expected {len(x)} finite floating latents to start from, one for each image, got "
            f"{z.dtype} of shape {tuple(z.shape)}"
        )
    if isinstance(terms.prior, Known):
        check_size(z, terms.prior)
    return z


def _loss(decode: Decode, x: Tensor, terms: Terms, first: Tensor) -> Callable[[Tensor], Tensor]:
    """The loss as a function: latents (N, *Z) -> (N,)."""
    gap = None if terms.features is None else _feature_gap(terms.features, x)
    prior = terms.prior if isinstance(terms.prior, Known) else None
    allowed = None if prior is None else penalty(first, prior)

    def loss(z: Tensor) -> Tensor:
        image = decode(z)
        _check_images(image, tuple(x.shape))
        difference = image - x
        size = difference.abs() if terms.pixels == "l1" else difference.square()
        total: Tensor = size.flatten(1).mean(1)
        if gap is not None:
            total = total + terms.feature_weight * gap(image)
        if prior is None or allowed is None:
            return total
        return total + terms.prior_weight * (penalty(z, prior) - allowed).clamp(min=0)

    return loss


def _feature_gap(features: Encode, x: Tensor) -> Callable[[Tensor], Tensor]:
    with torch.no_grad():
        wanted = features(x).flatten(1)
        length = wanted.square().sum(1).clamp(min=torch.finfo(wanted.dtype).tiny)
    return lambda image: (features(image).flatten(1) - wanted).square().sum(1) / length


@torch.enable_grad()
def _descend(
    loss: Callable[[Tensor], Tensor], first: Tensor, prior: Prior | None, steps: int, lr: float
) -> tuple[Tensor, Tensor]:
    """The best latents (N, *Z) and the history of their losses (steps + 1, N)."""
    best_z, best = first, loss(first).detach()
    if not best.isfinite().all():
        raise ValueError("expected decode to give finite images at the start, got NaN or infinity")
    kept = prior if isinstance(prior, Known) else None
    z = first.clone() if kept is None else project(first, kept).clone()
    optimizer = torch.optim.Adam([z.requires_grad_()], lr=lr)
    history = []
    for step in range(steps + 1):
        losses = loss(z)
        better = losses.detach() < best
        best = torch.where(better, losses.detach(), best)
        best_z = torch.where(better.view(-1, *[1] * (z.ndim - 1)), z.detach(), best_z)
        history.append(best)
        if step == steps:
            break
        if not losses.requires_grad:
            raise ValueError("decode carries no gradient to its latents: is it under no_grad?")
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        (slope,) = torch.autograd.grad(losses.sum(), z)
        z.grad = slope if kept is None else tangent(slope, kept)
        optimizer.step()
        if kept is not None:
            with torch.no_grad():
                z.copy_(project(z, kept))
    return best_z, torch.stack(history)


def _check(x: Tensor, steps: int, lr: float) -> None:
    if x.ndim < 3 or len(x) == 0 or not x.is_floating_point() or not x.isfinite().all():
        raise ValueError(
            f"expected finite floating images (N, C, *S), at least one, got {x.dtype} of shape "
            f"{tuple(x.shape)}"
        )
    if steps < 0 or not 0 < lr < math.inf:
        raise ValueError(f"expected steps of 0 or more and lr above 0, got {steps} and {lr}")


@torch.no_grad()
def _check_start(decode: Decode, z: Tensor, shape: tuple[int, ...]) -> None:
    try:
        images = decode(z)
    except RuntimeError as error:
        raise ValueError(
            f"decode refused the latents {tuple(z.shape)} to start from ({error}): expected such "
            "as it takes"
        ) from error
    _check_images(images, shape)


def _check_images(images: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(images.shape) != shape:
        raise ValueError(f"expected decode to give images {shape}, got {tuple(images.shape)}")
