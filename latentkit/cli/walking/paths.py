"""What `latentkit interpolate` walks along, draws and measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from latentkit.cli.named.endpoints import endpoint
from latentkit.cli.named.sources import Source
from latentkit.cli.results import Results
from latentkit.cli.walking.geodesics import geodesics
from latentkit.cli.walking.way import Way
from latentkit.latent.curves import catmull_rom, even, spline
from latentkit.latent.interpolate import lerp, matched, mixed, slerp, through
from latentkit.latent.render import decode_path
from latentkit.metrics.geometry import energy, gain, path_length
from latentkit.priors import Gaussian, GaussianOneHot, Uniform
from latentkit.views.pixels import grid

_FINER = 8  # points that measure a leg's speed, for each one that is drawn
IN_A_STRIP = 40
"""Images, at most: of more none can be seen."""
_CURVES = {"piecewise": {"lerp", "slerp", "matched", "geodesic"}, "spline": {"lerp", "matched"}}


def chosen_methods(way: Way, source: Source) -> list[str]:
    """The methods to walk by; refuses those that the model or the curve does not allow."""
    prior = getattr(source.model, "prior", None)
    matching = isinstance(prior, Gaussian | Uniform | GaussianOneHot)
    default = "matched" if matching and way.curve != "catmull-rom" else "lerp"
    typed: Sequence[str] = way.method or [default]
    methods = [*dict.fromkeys(typed)]
    allowed = _CURVES.get(way.curve, {"lerp"})
    if not allowed.issuperset(methods):
        raise ValueError(
            f"expected --method {' or '.join(sorted(allowed))} with --curve {way.curve}, "
            f"got {' '.join(methods)}"
        )
    if "matched" in methods:
        source.require("prior")
    if way.class_part and not (isinstance(prior, GaussianOneHot) and "matched" in methods):
        raise ValueError(
            "--class-part is for --method matched of a model with classes in its prior"
        )
    return methods


def anchors_of(names: Sequence[str], source: Source, seed: int) -> Tensor:
    """Latents (K, *Z) of the endpoints, in order.

    Raises:
        ValueError: an endpoint is none, or their latents differ in size.
    """
    ends = [endpoint(name, source, seed) for name in names]
    if len({end.shape for end in ends}) > 1:
        shapes = ", ".join(f"{n} {tuple(e.shape[1:])}" for n, e in zip(names, ends, strict=True))
        raise ValueError(f"expected endpoints of one latent size, got {shapes}")
    return torch.cat(ends)


@dataclass
class Walk:
    """One path through the anchors.

    Attributes:
        method: how two of them are joined.
        anchors: (K, *Z), on the CPU.
        way: how it goes through them.
        source: the model.
    """

    method: str
    anchors: Tensor
    way: Way
    source: Source

    @cached_property
    def path(self) -> Tensor:
        """(T, *Z), on the CPU."""
        if not self.way.even:
            return self._joined(self.way.steps)
        legs = len(self.anchors) - (not self.way.loop)
        # A geodesic through more points takes as much longer, and is almost even by itself.
        finer = 1 if self.method == "geodesic" else _FINER
        path = self._joined(finer * (self.way.steps - 1) + 1)
        count = legs * (self.way.steps - 1) + 1
        return even(path[None], self.source.decode, count, refine=_FINER // finer)[0]

    @cached_property
    def images(self) -> Tensor:
        """(T, C, *S)."""
        return decode_path(self.source.decode, self.path[None])[0]

    @cached_property
    def line(self) -> "Walk":
        """The straight walk through the same anchors."""
        return Walk("lerp", self.anchors, self.way, self.source)

    def _joined(self, steps: int) -> Tensor:
        way, classes = self.way, self.way.class_part or "simplex"
        if way.curve == "catmull-rom":
            return catmull_rom(self.anchors, steps, way.loop)
        if way.curve == "spline":
            prior = self.source.model.prior if self.method == "matched" else None
            return spline(self.anchors, steps, way.loop, prior, classes)
        anchors = torch.cat([self.anchors, self.anchors[:1]]) if way.loop else self.anchors
        return through(anchors, steps, self._leg)

    def _leg(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """All legs at once: (K - 1, steps, *Z)."""
        if self.method == "geodesic":
            return geodesics(self.source, a, b, steps)
        if self.method == "matched":
            prior = self.source.model.prior
            if isinstance(prior, GaussianOneHot):
                return mixed(a, b, steps, prior, self.way.class_part or "simplex")
            return matched(a, b, steps, prior)
        return {"lerp": lerp, "slerp": slerp}[self.method](a, b, steps)


def numbers(walks: Mapping[str, Walk]) -> dict[str, Any]:
    """Points, lengths and energies; of several walks each with the method's name in front."""
    found: dict[str, Any] = {}
    for method, walk in walks.items():
        name, images = f"{method}_" if len(walks) > 1 else "", walk.images[None]
        found["points"] = images.shape[1]
        found[f"{name}path_length"] = path_length(images).item()
        found[f"{name}energy"] = energy(images).item()
        if method == "geodesic":
            found[f"{name}gain"] = gain(images, walk.line.images[None]).item()
    return found


def draw(results: Results, rows: Mapping[str, Tensor], loop: bool) -> None:
    """Writes the strip or the labelled strips, and the animation: there and back, or round.

    Of many images a strip shows some, evenly spaced; the animation has all.

    Args:
        results: where to.
        rows: by method, images (T, C, H, W), as many of each.
        loop: whether the walk ends where it began.
    """
    images = torch.stack([*rows.values()], dim=1)  # (T, M, C, H, W)
    shown = torch.linspace(0, len(images) - 1, min(len(images), IN_A_STRIP)).round().long()
    picture = results.drawn
    if len(rows) > 1 or picture.suffix != ".png":
        from latentkit.views.figures import labelled_rows  # matplotlib, for this alone

        results.figure(labelled_rows({name: row[shown] for name, row in rows.items()}), picture)
        sheets = [grid(several, len(several)) for several in images]
        frames, width = [sheet[: images.shape[2]] for sheet in sheets], 512  # grey ones stay grey
    else:
        results.image(grid(images[shown, 0], len(shown)), picture)
        frames, width = [*images[:, 0]], 256
    moving = frames[:-1] if loop else [*frames, *frames[-2:0:-1]]
    results.animation(moving, width)
