"""What the user names on the command line, turned into models, data and latents."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentkit import store
from latentkit.cli.named.datasets import open_data
from latentkit.cli.parser import Common, Split
from latentkit.cli.progress import watched
from latentkit.data.images import random_rows

if TYPE_CHECKING:  # Lightning: a second that verbs without data do not need
    from latentkit.data.base import ImageData

_MOST = 10_000_000  # of anything counted: more is a slip, which would run for weeks
BATCH = 256  # images or latents in one call of a network
_PRIOR = ": an object with sample(n, generator=...), such as latentkit.priors.Gaussian(D)"
_BEYOND = 0.1  # how far outside of [0, 1] values are told: rounding and ringing are not
_WATCHED = 20  # batches from which on a bar is shown


@dataclass
class Source:
    """A model named on the command line, with its data.

    Attributes:
        name: as the user gave it.
        model: whatever `latentkit.load` gave.
        about: what its file says of its origin.
        device: where it lives.
        data_name: the user's `--data`; None for the data of `about`.
    """

    name: str
    model: Any
    about: Mapping[str, Any]
    device: torch.device
    data_name: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Of the model."""
        return store.fingerprint(self.model)

    @cached_property
    def data(self) -> "ImageData":
        """The data set, whose images have the shape the model takes."""
        try:
            data = open_data(self.data_name, self.about, self.image_shape)
        except ValueError as error:
            if self.data_name is not None or "--data" in str(error):
                raise
            raise ValueError(f"{error} (the data of {self.name}; --data names others)") from error
        if self.image_shape is not None and data.image_shape != self.image_shape:
            raise ValueError(
                f"expected images of shape {self.image_shape} for {self.name}, "
                f"the data has {data.image_shape}"
            )
        from latentkit.data.mnist5k import MNIST5k

        of_mnist = "torchvision.datasets.MNIST" in str(self.about.get("data"))
        if isinstance(data, MNIST5k) and of_mnist:
            raise ValueError(
                f"{self.name} was trained on MNIST's train set, which holds all images of MNIST5k: "
                "nothing measured on them would be held out; use its own data"
            )
        return data

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(C, *S) the model works on; None if it does not say."""
        shape = getattr(self.model, "shape", None) or self.about.get("input_shape")
        if shape and not (
            isinstance(shape, Sequence) and all(isinstance(n, int) and n > 0 for n in shape)
        ):
            raise ValueError(
                f"{self.name} is damaged: expected a shape of images, got {shape!r:.60}"
            )
        return tuple(shape) if shape else None

    @property
    def latent_size(self) -> int | None:
        """D of its flat latents; None if it does not say."""
        size: int | None = getattr(getattr(self.model, "prior", None), "dim", None)
        return size or getattr(self.model, "latent_dim", None)

    def require(self, *methods: str) -> None:
        """Raises a ValueError unless the model has all these methods."""
        missing = [m for m in methods if not hasattr(self.model, m)]
        if missing:
            raise ValueError(
                f"{self.name} has no {', '.join(missing)}: this needs a model with "
                f"{' and '.join(methods)}{_PRIOR if 'prior' in missing else ''}"
            )

    @property
    def generates(self) -> bool:
        """Whether images can be made of samples of its prior."""
        return hasattr(self.model, "decode") and hasattr(self.model, "prior")

    def encode(self, images: Tensor) -> Tensor:
        """(N, C, *S) -> (N, *Z), in batches, on the CPU."""
        return self.map("encode", images)

    def decode(self, latents: Tensor) -> Tensor:
        """(N, *Z) -> (N, C, *S), in batches, on the CPU; says where they are no images."""
        images = self.map("decode", latents)
        low, high = float(images.min()), float(images.max())
        if low < -_BEYOND or high > 1 + _BEYOND:
            print(
                f"note: decode of {self.name} gives values from {low:.2g} to {high:.2g}; images "
                "are in [0, 1], what lies beyond is cut off in pictures",
                file=sys.stderr,
            )
        return images

    @torch.no_grad()
    def map(self, what: str, rows: Tensor) -> Tensor:
        """What a method of the model, such as encode, makes of rows (N, ...): (N, ...).

        In batches with a progress bar, without gradients; the result lies on the CPU.
        """
        self.require(what)
        batches = torch.split(rows, BATCH)
        shown = watched(batches, what, few=len(batches) < _WATCHED)
        return torch.cat([self.run(what, x).cpu() for x in shown])

    def run(self, what: str, batch: Tensor) -> Tensor:
        """What a method of the model makes of one batch, with its graph, on the model's device.

        Raises:
            ValueError: a model that is not of this package refuses the batch, or the result is no
                tensor with a row for each of the batch's.
        """
        try:
            result = getattr(self.model, what)(batch.to(self.device))
        except RuntimeError as error:
            if type(self.model).__module__.startswith("latentkit."):
                raise
            raise ValueError(
                f"{what} of {self.name} refused a batch of shape {tuple(batch.shape)}: {error}"
            ) from error
        if not isinstance(result, Tensor) or len(result) != len(batch):
            got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(
                f"expected {what} of {self.name} to return a tensor of {len(batch)} rows, got {got}"
            )
        return result

    def directions(self, path: str) -> store.Directions:
        """Directions from a file; a ValueError if they are of another model or space."""
        found = store.load_directions(path)
        found.check(self.fingerprint)
        return replace(found, vectors=found.vectors.float())  # as latents are

    def images(self, split: Split, limit: int | None = None) -> tuple[Tensor, Tensor]:
        """The first images (N, C, *S) of a split and their labels (N,)."""
        chosen = self.data.split(split)
        return chosen[slice(0, len(chosen) if limit is None else limit)]

    def sample(self, split: Split, n: int | None, seed: int) -> tuple[Tensor, Tensor]:
        """`n` random images (n, C, *S) of a split, or all, in their order, and their labels (n,).

        The first ones are not like the others: folders are sorted by class, and in MNIST's test
        images the writers change in the middle.
        """
        chosen = self.data.split(split)
        return chosen[random_rows(len(chosen), n, seed)]

    def prior_sample(self, n: int, seed: int) -> Tensor:
        """`n` latents (n, *Z) of the model's prior, on the CPU."""
        self.require("prior")
        latents: Tensor = self.model.prior.sample(n, generator=torch.Generator().manual_seed(seed))
        return latents

    def latents(self, n: int, seed: int, split: Split = "test") -> Tensor:
        """`n` latents (n, *Z) to start from: of random images, or of the prior without an encoder.

        Latents of real images come first, since a prior also holds places that no image is near.
        """
        if not hasattr(self.model, "encode"):
            return self.prior_sample(n, seed)
        return self.encode(self.data.split(split)[self.drawn(n, seed, split)][0])

    def drawn(self, n: int, seed: int, split: Split = "test") -> Tensor:
        """Numbers of `n` random images of a split, or of all if there are fewer: (n,) int64."""
        count = len(self.data.split(split))
        return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:n]


def open_source(model: str, common: Common, data: str | None = None) -> Source:
    """Loads the model that the user named."""
    device = usable_device(common)
    return Source(model, store.load(model, device), store.read_about(model), device, data)


def usable_device(common: Common) -> torch.device:
    """The device that the user named, or a ValueError."""
    name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name if common.device == "auto" else common.device)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"cannot use --device {common.device}: {error}") from error
    return device


def at_least(least: int, **numbers: int | None) -> None:
    """Raises a ValueError, with the option's name, for a number that is too small or beyond use."""
    for name, value in numbers.items():
        option = f"--{name.replace('_', '-')}"
        if value is not None and value < least:
            raise ValueError(f"expected {option} of {least} or more, got {value}")
        if value is not None and value > _MOST:
            raise ValueError(f"expected {option} of {_MOST:,} or less, got {value}")
