"""What a model must offer, and the legend of shapes used in every docstring.

N batch, C channels, *S spatial sizes ((L,), (H, W) or (D, H, W)), *Z latent shape (usually (D,)),
K directions or classes, T steps of a path. Images are floats in [0, 1]; a model that works in
another range converts inside. Protocol members are methods or class-level properties only: a
sub-module attribute would break `isinstance` on Python 3.12 and later.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

Encode: TypeAlias = Callable[[Tensor], Tensor]
"""Images (N, C, *S) -> latents (N, *Z)."""
Decode: TypeAlias = Callable[[Tensor], Tensor]
"""Latents (N, *Z) -> images (N, C, *S)."""
Score: TypeAlias = Callable[[Tensor], Tensor]
"""A module's output (N, ...) -> one value per sample (N,); larger is more."""


@runtime_checkable
class Encoder(Protocol):
    """Turns images into latents, deterministically: a VAE gives its posterior mean."""

    def encode(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) -> (N, *Z)."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Turns latents into images; a GAN's generator is a decoder."""

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, *Z) -> (N, C, *S)."""
        ...


@runtime_checkable
class Discriminator(Protocol):
    """Judges images."""

    def discriminate(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) -> (N,), a logit: larger is more real."""
        ...


@runtime_checkable
class Prior(Protocol):
    """A distribution of latents."""

    def sample(self, n: int, /, *, generator: torch.Generator | None = None) -> Tensor:
        """N -> (n, *Z), on the generator's device (CPU without one)."""
        ...


@runtime_checkable
class HasPrior(Protocol):
    """Knows the distribution its latents come from."""

    @property
    def prior(self) -> Prior:
        """The prior over latents."""
        ...


@runtime_checkable
class StyleDecoder(Protocol):
    """A decoder that the latent enters at L places, with one style vector of size W at each."""

    def to_styles(self, z: Tensor, /) -> Tensor:
        """(N, *Z) -> (N, L, W)."""
        ...

    def from_styles(self, w: Tensor, /) -> Tensor:
        """(N, L, W) -> (N, C, *S)."""
        ...


@dataclass(frozen=True)
class Part:
    """A network that can be looked into.

    Attributes:
        module: maps images (N, C, *S) to latents (N, D) or to a realness logit (N,) or (N, 1).
        layers: dotted names inside `module` of the layers to read by default, earliest first.
        latents: turns what an encoder's module returns into what `encode` gives, where that is not
            the same: logits into shares, for one.
    """

    module: nn.Module
    layers: tuple[str, ...]
    latents: Callable[[Tensor], Tensor] | None = None


@runtime_checkable
class Explainable(Protocol):
    """Offers its networks for explanation."""

    def explainable(self) -> Mapping[str, Part]:
        """The parts by name: "encoder", "discriminator"."""
        ...
