"""The maps of directions that `latentkit explain` draws: effect, readings and use, kept apart."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from latentkit.cli.sources import Source
from latentkit.explain.cam import Method as CamMethod
from latentkit.explain.directions import (
    discriminator_direction,
    discriminator_reading,
    effect,
    reading,
)
from latentkit.explain.explanation import networks, readers, used
from latentkit.explain.hooks import find_layer
from latentkit.explain.natural import natural_change
from latentkit.explain.pattern import pattern
from latentkit.protocols import Part

Method = Literal["pattern", "natural", CamMethod]

_LOGITS = "encoder use, natural change and class activation maps are of the logits"
_LEARN = 1000  # latents that a discriminator's readout is learned from
_PORTION = 16  # images whose Jacobian is held at a time


def parts_of(source: Source) -> dict[str, Part]:
    """The networks that can be looked into; none where the model does not offer any."""
    return networks(source.model)


@dataclass(frozen=True)
class Reader:
    """Computes readings of a model's networks.

    Attributes:
        source: the model.
        z: latents to look at (N, *Z), on the model's device.
        method: how.
        layer: of a class activation map; None for each network's first.
    """

    source: Source
    z: Tensor
    method: Method
    layer: str | None = None

    def layers(self) -> dict[str, str]:
        """The layer read in each network; none where the method needs no layer."""
        cams = self.method in get_args(CamMethod)
        if self.layer is not None and not cams:
            raise ValueError(
                f"--layer is for class activation maps such as hires-cam, got {self.method}"
            )
        chosen = _layers(self.source, self.layer) if cams else {}
        parts = parts_of(self.source)
        return {name: layer or parts[name].layers[0] for name, layer in chosen.items()}

    def note(self) -> str | None:
        """What to know of the maps where the encoder's network does not end with its latents."""
        part = parts_of(self.source).get("encoder")
        return None if getattr(part, "latents", None) is None else _LOGITS

    def readings(self, vectors: Tensor) -> dict[str, Tensor]:
        """Directions (K, *Z) -> by question, maps (K, N, *S_layer)."""
        if self.method == "pattern":
            decode, learn = self.source.model.decode, self._learn
            read = tqdm(
                readers(self.source.model, learn).items(),
                desc="readings",
                leave=False,
                disable=None,
            )
            return {
                f"{name} reading": pattern(encode, decode, self.z, vectors).norm(dim=2)
                for name, encode in read
            }
        parts, layers = parts_of(self.source), self.layers()
        if self.method == "natural":
            return {"encoder reading": self._natural(vectors)} if "encoder" in parts else {}
        each = {"encoder": self._encoder_cam, "discriminator": self._discriminator_cam}
        return {
            f"{name} reading": torch.stack([each[name](d, layers[name]) for d in vectors])
            for name in each
            if name in parts
        }

    def _learn(self) -> Tensor:
        """Latents that a readout is learned from."""
        return self.source.latents(_LEARN, seed=0).to(self.z)

    def _natural(self, vectors: Tensor) -> Tensor:
        module = parts_of(self.source)["encoder"].module
        portions = torch.split(self._images(), _PORTION)
        found = torch.cat([natural_change(module, x, vectors) for x in portions], 1)
        size: Tensor = torch.linalg.vector_norm(found, dim=2)
        return size

    def _encoder_cam(self, d: Tensor, layer: str) -> Tensor:
        part = parts_of(self.source)["encoder"]
        return reading(part, self._images(), d, layer, self.method).raw  # type: ignore[arg-type]

    def _discriminator_cam(self, d: Tensor, layer: str) -> Tensor:
        part, decode = parts_of(self.source)["discriminator"], self.source.model.decode
        u = discriminator_direction(part, decode, self.z, d)
        return discriminator_reading(part, self._images(), u, layer, self.method).raw  # type: ignore[arg-type]

    @torch.no_grad()
    def _images(self) -> Tensor:
        image: Tensor = self.source.model.decode(self.z)
        return image


def effects(source: Source, z: Tensor, vectors: Tensor) -> Tensor:
    """What the generator changes along each direction: (K, N, *S)."""
    bar = tqdm(vectors, desc="effects", leave=False, disable=None)
    return torch.stack([effect(source.model.decode, z, d) for d in bar])


def uses(source: Source, z: Tensor, vectors: Tensor, length: float) -> tuple[Tensor, list[float]]:
    """Which part of the change the encoder uses, (K, N, *S), and by how much the sums miss.

    The way from one side of z to the other, `length` each; the sum of a map is the change of
    <encode, d>. The errors are medians over images, relative to that change.
    """
    module, decode = parts_of(source)["encoder"].module, source.model.decode
    bar = tqdm(vectors, desc="use", leave=False, disable=None)
    found = [used(module, decode, z, d, length) for d in bar]
    return torch.stack([maps for maps, _ in found]), [float(e.median()) for _, e in found]


def _layers(source: Source, layer: str | None) -> dict[str, str | None]:
    """The layer to read in each network: `layer` where there is one, None for the default."""
    parts = parts_of(source)
    if layer is None:
        return dict.fromkeys(parts)
    if not parts:
        raise ValueError(f"{source.name} has no network that can be looked into: leave out --layer")
    found: dict[str, str | None] = dict.fromkeys(parts)
    unknown = []
    for name, part in parts.items():
        try:
            found[name] = find_layer(part.module, layer)[0]
        except ValueError as error:
            unknown.append(f"{name}: {error}")
    if len(unknown) == len(parts):
        raise ValueError("; ".join(unknown))
    return found
