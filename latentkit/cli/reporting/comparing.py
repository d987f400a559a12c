"""What `latentkit compare` measures of several models, on the same images and seeds."""

import sys
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from latentkit.cli.judging.scores import measure
from latentkit.cli.named.sources import Source, open_source
from latentkit.cli.parser import Common
from latentkit.cli.reporting.looking import tried
from latentkit.data.base import ImageData
from latentkit.metrics.similarity import cka, rotation_fit
from latentkit.training.classifier import has_classes
from latentkit.training.features import Space, named_space
from latentkit.views.comparison import Side

_SHOWN = 16  # samples and reconstructions
_POSTERIOR = 64  # samples of the importance-weighted bound of a VAE, as of `evaluate`


def sources_of(runs: list[str], common: Common, data: str | None) -> list[Source]:
    """The models, which must work on the same images.

    Raises:
        ValueError: if two are one, their images differ in shape, or they were trained on other
            data and none are given.
    """
    sources = [open_source(run, common, data) for run in runs]
    if len(set(runs)) < len(runs):
        raise ValueError(f"expected different runs, got one twice: {', '.join(runs)}")
    first = sources[0]
    for other in sources[1:]:
        if other.data.image_shape != first.data.image_shape:
            raise ValueError(
                f"expected models of the same images, got {first.data.image_shape} for "
                f"{first.name} and {other.data.image_shape} for {other.name}"
            )
        if data is None and not _one(other.data, first.data):
            raise ValueError(
                f"{other.name} was trained on other data than {first.name}: what one has not seen "
                "the other may have; say with --data which images to compare them on"
            )
    return sources


def compared(
    sources: list[Source], common: Common, count: int, features: str | None
) -> tuple[list[Side], dict[str, dict[str, float]], dict[str, Any]]:
    """One side a model; how alike each two latent spaces are; and the settings."""
    images, labels = sources[0].sample("test", count, common.seed)
    shown = images[torch.linspace(0, len(images) - 1, min(_SHOWN, len(images))).long()]
    space = _common_space(sources, features, common.seed)
    if space is not None:
        space.read(images[:1], sources[0].device)  # a mistake of the user's, not of a model
    sides = []
    for source in sources:
        print(f"compare: {source.name}", file=sys.stderr, flush=True)
        work = partial(measure, source, images, labels, space, (None, _POSTERIOR), common.seed)
        sides.append(_side(source, shown, common.seed, work))
    settings = {"images": len(images), "runs": [s.name for s in sources]}
    return sides, _alike(sources, images), settings


def _alike(sources: list[Source], images: Tensor) -> dict[str, dict[str, float]]:
    """How alike each two latent spaces are, of the models whose latents are all numbers."""
    latents = {}
    for source in sources:
        if hasattr(source.model, "encode"):
            found = tried("", partial(source.encode, images), [])  # the side says so already
            if found is not None and found.isfinite().all():
                latents[source.name] = found.flatten(1)
    return {
        f"{a}, {b}": {"cka": cka(x, y), "rotation": rotation_fit(x, y)}
        for (a, x), (b, y) in combinations(latents.items(), 2)
    }


def _one(a: ImageData, b: ImageData) -> bool:
    """Whether two data sets hold the same images: by their sizes, and some test images."""
    sizes = [[len(data.split(part)) for part in ("train", "val", "test")] for data in (a, b)]
    first = [data.split("test")[slice(0, 16)][0] for data in (a, b)]
    return sizes[0] == sizes[1] and torch.equal(*first)


def _common_space(sources: list[Source], features: str | None, seed: int) -> Space | None:
    """What the images that models generate are compared in; never the own encoder of one."""
    first = sources[0]
    if not any(source.generates for source in sources):
        return None
    if features is None and has_classes(first.data):
        features = "classifier"
    return None if features is None else named_space(features, first.data, first.device, seed)


def _finite(images: Tensor) -> Tensor:
    """The same images, which must be numbers: others would be drawn as black ones."""
    if not images.isfinite().all():
        raise ValueError("expected images of finite numbers, got NaN or infinity")
    return images


def _side(
    source: Source,
    images: Tensor,
    seed: int,
    work: Callable[[], tuple[dict[str, Any], dict[str, Any]]],
) -> Side:
    """What can be said of a model; a broken one does not take the others with it."""
    failed: list[str] = []
    numbers, settings = tried("measuring", work, failed) or ({}, {})
    samples, rebuilt = None, None
    if source.generates:
        draw = partial(source.prior_sample, _SHOWN, seed)
        samples = tried("sampling", lambda: _finite(source.decode(draw())), failed)
    if hasattr(source.model, "decode") and hasattr(source.model, "encode"):
        read = partial(source.encode, images)
        rebuilt = tried("reconstructing", lambda: _finite(source.decode(read())), failed)
    shown = images, samples, rebuilt
    return Side(source.name, source.fingerprint, numbers, settings, *shown, failed)
