"""The maps of directions that `latentkit explain` draws: effect, readings and use, kept apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from latentkit.cli.named.sources import Source
from latentkit.cli.progress import watched
from latentkit.explain.cam import Method as CamMethod
from latentkit.explain.control import CONTROLS, networks, untrained
from latentkit.explain.directions import (
    discriminator_direction,
    discriminator_reading,
    effect,
    reading,
)
from latentkit.explain.explanation import readers, used, user
from latentkit.explain.hooks import find_layer
from latentkit.explain.natural import natural_change
from latentkit.explain.pattern import READOUT, pattern
from latentkit.protocols import Decoder, Part

Method = Literal["pattern", "natural", CamMethod]

_LOGITS = "encoder use, natural change and class activation maps are of the logits"
_PORTION = 16  # images whose Jacobian is held at a time


@dataclass(frozen=True)
class Reader:
    """Computes readings of a model's networks.

    Attributes:
        source: the model.
        z: latents to look at (N, *Z), on the model's device.
        method: how.
        layer: of a class activation map; None for each network's first.
        seed: that z was drawn with; a readout is learned from other latents.
    """

    source: Source
    z: Tensor
    method: Method
    layer: str | None = None
    seed: int = 0

    def layers(self) -> dict[str, str]:
        """The layer read in each network; none where the method needs no layer."""
        cams = self.method in get_args(CamMethod)
        if self.layer is not None and not cams:
            raise ValueError(
                f"--layer is for class activation maps such as hires-cam, got {self.method}"
            )
        chosen = _layers(self.source, self.layer) if cams else {}
        parts = networks(self.source.model)
        return {name: layer or parts[name].layers[0] for name, layer in chosen.items()}

    def note(self) -> str | None:
        """What to know of the maps where the encoder's network does not end with its latents."""
        part = networks(self.source.model).get("encoder")
        return None if getattr(part, "latents", None) is None else _LOGITS

    def readings(self, vectors: Tensor) -> dict[str, Tensor]:
        """Directions (K, *Z) -> by question, maps (K, N, *S_layer)."""
        return self._of(self.source.model, vectors)

    def controls(self, vectors: Tensor) -> list[dict[str, Tensor]]:
        """Maps (K, N, *S_layer) by question, of networks with random weights; one draw each."""
        numbers = watched(range(CONTROLS), "random weights")
        return [self._control(untrained(self.source.model, k), vectors) for k in numbers]

    def _control(self, model: Decoder, vectors: Tensor) -> dict[str, Tensor]:
        if self.method in ("pattern", "natural"):
            return self._of(model, vectors)
        found: dict[str, Tensor] = {}
        for name, part in networks(model).items():
            try:
                found |= self._cams({name: part}, vectors)
            except ValueError:  # a network whose features are dead reads nothing, and wins nothing
                nothing = [1] * (self._images.ndim - 2)
                found[f"{name} reading"] = self.z.new_zeros(len(vectors), len(self.z), *nothing)
        return found

    def _of(self, model: Decoder, vectors: Tensor) -> dict[str, Tensor]:
        if self.method == "pattern":
            read = watched(readers(model, lambda: self._learn).items(), "readings")
            return {
                f"{name} reading": pattern(encode, model.decode, self.z, vectors).norm(dim=2)
                for name, encode in read
            }
        parts = networks(model)
        if self.method == "natural":
            if "encoder" not in parts:
                return {}
            return {"encoder reading": self._natural(parts["encoder"], vectors)}
        return self._cams(parts, vectors)

    @cached_property
    def _learn(self) -> Tensor:
        """Latents that a readout is learned from: none of those it is judged on."""
        return self.source.latents(READOUT, self.seed + 1, "train").to(self.z)

    def _natural(self, part: Part, vectors: Tensor) -> Tensor:
        portions = torch.split(self._images, _PORTION)
        found = torch.cat([natural_change(part.module, x, vectors) for x in portions], 1)
        size: Tensor = torch.linalg.vector_norm(found, dim=2)
        return size

    def _cams(self, parts: Mapping[str, Part], vectors: Tensor) -> dict[str, Tensor]:
        layers = self.layers()
        each = {"encoder": self._encoder_cam, "discriminator": self._discriminator_cam}
        return {
            f"{name} reading": torch.stack(
                [each[name](parts[name], d, layers[name]) for d in vectors]
            )
            for name in each
            if name in parts
        }

    def _encoder_cam(self, part: Part, d: Tensor, layer: str) -> Tensor:
        return reading(part, self._images, d, layer, self.method).raw  # type: ignore[arg-type]

    def _discriminator_cam(self, part: Part, d: Tensor, layer: str) -> Tensor:
        u = discriminator_direction(part, self.source.model.decode, self.z, d)
        return discriminator_reading(part, self._images, u, layer, self.method).raw  # type: ignore[arg-type]

    @cached_property
    def _images(self) -> Tensor:
        with torch.no_grad():
            image: Tensor = self.source.model.decode(self.z)
        return image


def effects(source: Source, z: Tensor, vectors: Tensor) -> Tensor:
    """What the generator changes along each direction: (K, N, *S)."""
    shown = watched(vectors, "effects")
    return torch.stack([effect(source.model.decode, z, d) for d in shown])


def uses(
    source: Source, z: Tensor, vectors: Tensor, length: float
) -> tuple[Tensor, list[float]] | None:
    """Which part of the change the encoder uses, (K, N, *S), and by how much the sums miss.

    The way from one side of z to the other, `length` each; the sum of a map is the change of
    <encode, d>. The errors are medians over images, relative to that change. None without an
    encoder that a derivative passes through.
    """
    module, decode = user(source.model, z), source.model.decode
    if module is None:
        return None
    found = [used(module, decode, z, d, length) for d in watched(vectors, "use")]
    return torch.stack([maps for maps, _ in found]), [float(e.median()) for _, e in found]


def _layers(source: Source, layer: str | None) -> dict[str, str | None]:
    """The layer to read in each network: `layer` where there is one, None for the default."""
    parts = networks(source.model)
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
