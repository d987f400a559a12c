"""New labelled latents for the verb `augment`."""

import hashlib
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from latentkit.cli.named.sources import Source
from latentkit.cli.walking.geodesics import geodesics
from latentkit.latent.augment import between, mixup, smote
from latentkit.latent.classes import with_classes_on_simplex
from latentkit.latent.interpolate import Interpolation, mixed, slerp
from latentkit.latent.perturb import along, gaussian, jitter
from latentkit.latent.training_set import Augmented, TrainLatents
from latentkit.priors import GaussianOneHot

_ITERATIONS = 50  # of a geodesic, one point of which is used


def training_latents(source: Source, limit: int | None) -> TrainLatents:
    """The first latents of the training split; the numbers after it, and theirs, are held out.

    Raises:
        ValueError: an image of the training split has no label.
    """
    splits = source.data.splits
    images, labels = source.images("train", limit)
    if (labels < 0).any():
        raise ValueError("augment needs labels: the data has none (give --data with classes)")
    first = len(splits.train)
    held_out = torch.arange(first, first + len(splits.val) + len(splits.test))
    others = [source.images(split)[0] for split in ("val", "test")]
    latents = _encode_once(source, torch.cat([images, *others]))
    own, theirs = latents[: len(images)], latents[len(images) :]
    return TrainLatents(own, labels, torch.arange(len(own)), held_out, theirs)


def _encode_once(source: Source, images: Tensor) -> Tensor:
    """Latents (N, *Z), the very same for copies of an image, which other batches round apart."""
    seen: dict[bytes, int] = {}
    digests = (hashlib.blake2b(image.tobytes()).digest() for image in images.numpy())
    first = torch.tensor([seen.setdefault(digest, k) for k, digest in enumerate(digests)])
    kept, place = first.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    return source.encode(images[kept])[place]


def make(
    source: Source,
    train: TrainLatents,
    method: str,
    per_class: int,
    options: tuple[str | None, float | None],
    seed: int,
) -> tuple[Augmented, dict[str, Any]]:
    """New latents by a method of the verb, and the settings that it used.

    Args:
        source: the model.
        train: its training latents.
        method: as the verb names it.
        per_class: new latents of each class.
        options: the user's `--directions` and `--strength`.
        seed: of all choices.

    Raises:
        ValueError: an option is given that the method does not take, or lacks one that it needs, or
            the latents do not allow it.
    """
    path, strength = options
    generator = torch.Generator().manual_seed(seed)
    if (path is not None) != (method == "direction"):
        raise ValueError(
            f"expected --directions with --method direction, and with no other, got {method}"
        )
    if strength is not None and method not in {"jitter", "direction"}:
        raise ValueError(f"--strength is for --method jitter and direction, got {method}")
    if path is not None:
        return _along(
            source, train, per_class, (path, 1.0 if strength is None else strength), generator
        )
    if method == "jitter":
        source.require("prior")
        used = 0.3 if strength is None else strength
        new = jitter(train, per_class, source.model.prior, used, generator)
        return new, {"strength": used}
    return _joined(source, train, method, per_class, generator)


def _joined(
    source: Source, train: TrainLatents, method: str, per_class: int, generator: torch.Generator
) -> tuple[Augmented, dict[str, Any]]:
    """By the methods that join several latents."""
    if method in {"slerp", "geodesic"}:
        path, how = _path(source, method)
        return between(train, per_class, path, generator=generator), how
    if method == "mixup":
        classes = int(train.labels.max()) + 1
        return mixup(train, per_class * classes, classes, generator=generator), {}
    if method == "gaussian":
        return _kept(source, gaussian(train, per_class, generator)), {}
    return smote(train, per_class, generator=generator), {}


def _path(source: Source, method: str) -> tuple[Interpolation, dict[str, Any]]:
    """What joins two latents of a class, and what is to be said of it."""
    if method == "geodesic":
        return partial(geodesics, source, iterations=_ITERATIONS), {"iterations": _ITERATIONS}
    prior = getattr(source.model, "prior", None)
    if isinstance(prior, GaussianOneHot):  # arcs would leave the simplex of its classes
        return partial(mixed, prior=prior), {"path": "matched, classes by shares"}
    return slerp, {}


def _kept(source: Source, new: Augmented) -> Augmented:
    """The same with the classes of a ClusterGAN moved back onto their simplex."""
    prior = getattr(source.model, "prior", None)
    if not isinstance(prior, GaussianOneHot):
        return new
    return replace(new, z=with_classes_on_simplex(new.z, prior))


def _along(
    source: Source,
    train: TrainLatents,
    per_class: int,
    options: tuple[str, float],
    generator: torch.Generator,
) -> tuple[Augmented, dict[str, Any]]:
    path, strength = options
    if not strength > 0:
        raise ValueError(f"expected --strength above 0, got {strength}")
    found = source.directions(path)
    vector = found.vectors[0]
    far = strength * (train.flat @ vector.flatten().to(train.flat)).std().item()
    new = _kept(source, along(train, per_class, vector, (-far, far), generator))
    return new, {"strength": strength, "direction": found.names[0]}


def arrays_of(new: Augmented, images: Tensor, classes: int) -> dict[str, NDArray[Any]]:
    """What goes into the .npz, of new latents and what they decode to (N, C, H, W)."""
    hard = new.labels if new.labels.ndim == 1 else new.labels.argmax(1)
    soft = (
        torch.nn.functional.one_hot(new.labels.long(), classes).float()
        if new.labels.ndim == 1
        else new.labels
    )
    pixels = (images.clamp(0, 1) * 255).round().byte().movedim(1, -1)
    arrays = {"x": pixels, "y": hard, "soft": soft, "z": new.z}
    if len(new.parents[0]) <= 2:  # and not a whole class
        arrays["parents"] = torch.stack(new.parents)
    return {name: value.numpy() for name, value in arrays.items()}
