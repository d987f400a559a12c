"""TensorBoard: what each direction changes and where the network reads it, as training goes on."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from latentkit.explain.directions import effect
from latentkit.explain.explanation import readers
from latentkit.explain.faithfulness import (
    Retrieval,
    direction_retrieval,
    measurable,
    with_rivals,
)
from latentkit.explain.pattern import pattern
from latentkit.latent.directions import axes
from latentkit.latent.render import decode_path
from latentkit.protocols import Encode
from latentkit.training.base import Training
from latentkit.views.atlas import AtlasRows, Limits, atlas, limits_of
from latentkit.views.entries import Entry, write_entry
from latentkit.views.figures import rendered
from latentkit.views.panel import drawn
from latentkit.views.tensorboard import REACH, UnitPanel, between

_FRAMES = 7  # images of a walk
_MEASURED = 8  # latents on which readings are told apart
_SPREAD = 256  # latents that tell which units vary, and how far
_LEARN = 500  # latents of the prior that a discriminator's readout is learned from
# A readout of a discriminator's features says what they keep, not what it has learned to look for.
_ASKED = {"encoder": "reading", "discriminator": "kept"}

Read: TypeAlias = Mapping[str, Encode]
"""What gives latents for images, by the question that its maps answer."""


class Atlases(UnitPanel):
    """Directions and pairs of validation images, each with effect and reading, as an atlas.

    The directions are the latent units that vary most at the first drawing. Effect: what the
    generator changes along the direction. Reading: what the encoder (or, without one, a readout of
    the discriminator) would take for it, by `latentkit.explain.pattern`; how often it can be told
    from those of the other directions is written below it, measured on 8 images and without a
    control: whether it is faithful, `latentkit explain` finds out. Of a pair both are at the middle
    image of the way. The colours have the scale of the first drawing, so that steps can be
    compared; what is stronger later gets its strongest colour. The Latent tab of TensorBoard shows
    the same, run beside run, on a scale of its own.

    Args:
        every: training images between atlases; 0 for none. One takes seconds.
        directions: latent units.
        pairs: of validation images; without an encoder, of samples.

    Raises:
        ValueError: `every` or `pairs` is below 0, or `directions` below 1.
    """

    def __init__(self, every: int = 500_000, directions: int = 4, pairs: int = 2) -> None:
        super().__init__(every)
        if directions < 1 or pairs < 0:
            raise ValueError(
                "expected atlases.directions of 1 or more and atlases.pairs of 0 or more, got "
                f"{directions} and {pairs}"
            )
        self.directions, self.pairs = directions, pairs
        self._limits: dict[str, Limits] = {}

    def state_dict(self) -> dict[str, Any]:
        """Of a panel of units, and the limits of the colours."""
        limits = {question: list(ends) for question, ends in self._limits.items()}
        return {**super().state_dict(), "limits": limits}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them."""
        super().load_state_dict(state_dict)
        limits = state_dict.get("limits", {})  # which earlier checkpoints lack
        self._limits = {question: (low, high) for question, (low, high) in limits.items()}

    def draw(self, board: SummaryWriter, trainer: pl.Trainer, module: Training) -> None:
        """Logs the picture `directions`, and an entry of the Latent tab for each direction."""
        model: Any = module.portable()
        z = self.latents(trainer, module, max(_SPREAD, 2 * self.pairs))
        if len(z) < 2 or z.ndim != 2 or not bool(z.std(0).any()):
            return
        step = int(module.iteration)
        found = readers(model, lambda: drawn(module, _LEARN))
        read = {_ASKED[name]: encode for name, encode in list(found.items())[:1]}
        spread = float(z.float().std(0).mean())
        units = self._units(model, read, z, spread)
        entries = units | self._pairs(model, read, z, spread)
        picture = rendered(self._picture(units))  # first, so that all is logged or nothing
        for tag, entry in entries.items():
            write_entry(board, tag, entry, step)
        board.add_image("directions", picture, step)

    def _units(
        self,
        model: Any,  # noqa: ANN401
        read: Read,
        z: Tensor,
        spread: float,
    ) -> dict[str, Entry]:
        """The directions at the first latent, told apart on the first ones."""
        units = self.chosen(model, z, self.directions)
        vectors = with_rivals(axes(z.shape[1], units).to(z), 0)
        some, told = z[:_MEASURED], None
        truths = torch.stack([effect(model.decode, some, d) for d in vectors])
        maps_of = {"effect": truths}
        for question, encode in read.items():
            found = pattern(encode, model.decode, some, vectors, spread=spread)
            maps_of[question] = found.norm(dim=2)
            if measurable(vectors):
                told = direction_retrieval(maps_of[question], truths)
        entries = {}
        for k, unit in enumerate(units):
            maps = {question: m[k, 0].float() for question, m in maps_of.items()}
            reach = REACH * z[:, unit].std() * torch.linspace(-1, 1, _FRAMES).to(z)
            path = z[:1, None] + reach[None, :, None] * vectors[k]
            walk = decode_path(model.decode, path)[0]
            notes = [] if told is None else [_measured(told.only(k))]
            entries[f"unit {unit}"] = Entry("direction", walk, maps, notes)
        return entries

    def _pairs(
        self,
        model: Any,  # noqa: ANN401
        read: Read,
        z: Tensor,
        spread: float,
    ) -> dict[str, Entry]:
        """Effect and reading of the way from one image to another, at its middle image."""
        if not self.pairs:
            return {}
        count = min(self.pairs, len(z) // 2)
        path = between(model, z[:count], z[count : 2 * count], _FRAMES)
        half = _FRAMES // 2
        middle, ways = path[:, half], path[:, half + 1] - path[:, half - 1]
        walks = decode_path(model.decode, path)
        readings = {
            question: pattern(encode, model.decode, middle, ways, spread=spread).norm(dim=2)
            for question, encode in read.items()
        }
        entries = {}
        for k in range(len(ways)):
            maps = {"effect": effect(model.decode, middle[k : k + 1], ways[k])[0]}
            maps |= {question: some[k, k] for question, some in readings.items()}
            maps = {question: m.float() for question, m in maps.items()}
            entries[f"pair {k + 1}"] = Entry("pair", walks[k], maps)
        return entries

    def _picture(self, entries: dict[str, Entry]) -> Figure:
        """The atlas of the directions, in the colours of the first drawing."""
        names = {"effect": "effect"} | {asked: f"{name} reading" for name, asked in _ASKED.items()}
        kinds = next(iter(entries.values())).maps
        maps = {names[q]: torch.stack([e.maps[q] for e in entries.values()]).cpu() for q in kinds}
        limits = self._limits or {q: limits_of(m) for q, m in maps.items()}
        if all(bool(m.isfinite().all()) for m in maps.values()):
            self._limits = limits
        walks = torch.stack([e.walk for e in entries.values()]).float().cpu()
        notes = [f"{unit}: {note}" for unit, e in entries.items() for note in e.notes]
        rows = AtlasRows(walks, maps, limits)
        return atlas(rows, list(entries), "directions of one image", notes)


def _measured(told: Retrieval) -> str:
    """Numbers alone: a control with random weights, without which nothing is vouched for, costs."""
    images = told.won.shape[1]
    return f"retrieval {told.accuracy:.2f} on {images} images, chance {told.chance:.2f}"
