"""Moving images along one direction of a file, for the verb `edit`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentkit.cli.named.sources import Source
from latentkit.cli.results import Results
from latentkit.latent.editing import sweep
from latentkit.latent.inversion import Inversion
from latentkit.latent.render import decode_path
from latentkit.metrics.reconstruction import psnr
from latentkit.store import Directions
from latentkit.views.pixels import grid
from latentkit.views.sheets import sheet

_FRAMES = 25  # of the animation, one way
_ERRORS = {
    "corrected_cone_degrees": "within {:.1f} degrees of the true direction (95 %)",
    "cone_degrees": "bootstrap cone {:.1f} degrees; the error is larger where images are few",
    "p": "p {:.3g}",
    "held_out_auc": "held-out AUC {:.3f}",
}
"""Numbers of a directions file on the error, and how they are said."""


@dataclass(frozen=True)
class Direction:
    """One direction of a file.

    Attributes:
        vector: (*Z), unit length.
        scale: standard deviation of the model's latents along it; 1 where the file does not say.
        name: its name.
        method: how it was found.
        known: what was measured of its error, by name.
    """

    vector: Tensor
    scale: float
    name: str
    method: str
    known: dict[str, float]


def open_direction(path: str, name: str | None, source: Source) -> Direction:
    """Reads one direction; refuses those of another model or another space."""
    found = source.directions(path)
    if name is not None and name not in found.names:
        raise ValueError(f"no direction {name!r} in {path}: expected one of {list(found.names)}")
    k = found.names.index(name) if name is not None else 0
    scales = found.provenance.get("scale")
    scale = float(scales[k]) if scales else 1.0
    return Direction(found.vectors[k], scale, found.names[k], found.method, _known(found, k))


def _known(found: Directions, k: int) -> dict[str, float]:
    """What `latentkit directions` measured of the error of the k-th direction."""
    numbers: Mapping[str, Any] = found.provenance.get("numbers", {})
    own = {name: numbers[name] for name in _ERRORS if name in numbers}
    return {name: v[k] if isinstance(v, list) else v for name, v in own.items()}


@dataclass(frozen=True)
class Edited:
    """Images moved along one direction.

    Attributes:
        strengths: T of them, in units of the direction's scale.
        latents: (N, T, *Z).
        images: (N, T, C, *S).
        unmoved: (N, C, *S), the images of strength 0.
        frames: (F, N, C, *S), a fine sweep over the range of the strengths and 0.
        read_back: (T,) mean share of the step that the encoder finds again in the edited image, 1
            for all of it; None without an encoder.
    """

    strengths: list[float]
    latents: Tensor
    images: Tensor
    unmoved: Tensor
    frames: Tensor
    read_back: list[float | None] | None

    @property
    def change(self) -> list[float]:
        """Mean absolute difference from the unmoved images, by strength."""
        gap = (self.images - self.unmoved[:, None]).abs()
        means: list[float] = gap.transpose(0, 1).flatten(1).mean(1).tolist()
        return means


def edit_images(source: Source, z: Tensor, direction: Direction, strengths: list[float]) -> Edited:
    """Moves latents (N, *Z) on the CPU by every strength, and decodes them.

    Raises:
        ValueError: all strengths are 0, or the direction is not of the latents' shape.
    """
    if not any(strengths):
        raise ValueError(f"expected --strengths with one that is not 0, got {strengths}")
    if direction.vector.shape != z.shape[1:]:
        raise ValueError(
            f"expected a direction of the latents' shape {tuple(z.shape[1:])}, got "
            f"{tuple(direction.vector.shape)}"
        )
    step = direction.scale * direction.vector
    latents = sweep(z, step, strengths)
    fine = torch.linspace(min(0, *strengths), max(0, *strengths), _FRAMES).tolist()
    images = decode_path(source.decode, latents)
    frames = decode_path(source.decode, sweep(z, step, fine)).transpose(0, 1)
    unmoved = source.decode(z)
    back = _read_back(source, images, unmoved, step, strengths)
    return Edited(strengths, latents, images, unmoved, frames, back)


def _read_back(
    source: Source, images: Tensor, unmoved: Tensor, step: Tensor, strengths: list[float]
) -> list[float | None] | None:
    """How much of each step the encoder sees: the projection of its own change on the step."""
    if not hasattr(source.model, "encode"):
        return None
    base = source.encode(unmoved).flatten(1)
    seen: list[float | None] = []
    for k, strength in enumerate(strengths):
        moved = source.encode(images[:, k]).flatten(1) - base
        wanted = strength * step.flatten()
        share = moved @ wanted / wanted.square().sum() if strength else None
        seen.append(None if share is None else share.mean().item())
    return seen


def write_edit(
    results: Results,
    source: Source,
    direction: Direction,
    given: tuple[Tensor, list[str], Inversion],
    edited: Edited,
) -> None:
    """Writes the sheet, the animation, the latents and the numbers.

    Args:
        results: where to.
        source: the model.
        direction: along which the images were moved.
        given: the originals (N, C, *S), their N names, and how their latents were found.
        edited: what became of them.
    """
    originals, names, found = given
    columns = ["original", *(f"{s:+g}" if s else "0" for s in edited.strengths)]
    rows = torch.cat([originals[:, None], edited.images], dim=1)
    notes = _notes(direction, found, hasattr(source.model, "encode"))
    title = f"{direction.name} ({direction.method})"
    results.figure(sheet(rows, names, columns, title, notes), results.drawn)
    frames = [grid(frame, len(names)) for frame in edited.frames]
    moving = [*frames, *frames[-2:0:-1]]
    results.animation(moving, 256)
    arrays = {"z": found.z, "edited": edited.latents, "strengths": torch.tensor(edited.strengths)}
    latents = {name: value.numpy() for name, value in arrays.items()}
    results.arrays(results.path("latents.npz"), **latents)
    numbers: dict[str, Any] = {"images": len(names), "direction": direction.name}
    numbers |= {"scale": direction.scale, "uncertainty": direction.known}
    numbers |= {"psnr_db_unmoved": psnr(edited.unmoved, originals).mean().item()}
    numbers |= {"change": edited.change, "read_back": edited.read_back}
    settings = {"strengths": edited.strengths, "steps": len(found.history) - 1}
    results.finish(numbers, source, images=names, **settings)


def _notes(direction: Direction, found: Inversion, encoded: bool) -> list[str]:
    """What to know under the picture: the unit, the error of the latents and of the direction."""
    shown = {**direction.known}
    if "corrected_cone_degrees" in shown:  # which says what the bootstrap alone leaves out
        shown.pop("cone_degrees", None)
    known = ", ".join(_ERRORS[name].format(value) for name, value in shown.items())
    steps = len(found.history) - 1
    way = "encoded" if encoded else "inverted"
    way += f" and refined in {steps} steps" * bool(encoded and steps)
    return [
        f"strength 1 = {direction.scale:.3g}, one standard deviation of the latents along it",
        f"images {way}, {found.psnr.mean().item():.1f} dB",
        f"the direction's error: {known or 'not measured'}",
    ]
