"""Every way tried to show where a network reads a direction, the losers too: rows of DirBench.

Each takes a `Case` and the network and gives signed maps (K, N, *S_layer) of its K directions. The
first is what `latentkit explain` draws where there is a generator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from latentkit.explain import baselines, hooks
from latentkit.explain.attribution import saliency
from latentkit.explain.cam import cam
from latentkit.explain.conductance import conductance, discriminator_conductance
from latentkit.explain.directions import discriminator_direction, discriminator_reading, effect
from latentkit.explain.guided import guided_backpropagation
from latentkit.explain.natural import natural_change
from latentkit.explain.randomisation import cascade
from latentkit.explain.scores import direction
from latentkit.explain.weighing import Method
from latentkit.protocols import Decode, Part, Score


@dataclass(frozen=True, eq=False)
class Case:
    """K directions of a generator at N latents.

    Attributes:
        decode: latents (N, *Z) -> images (N, C, *S).
        z: (N, *Z).
        directions: (K, *Z).
        names: of the directions.
    """

    decode: Decode
    z: Tensor
    directions: Tensor
    names: tuple[str, ...]

    @property
    def x(self) -> Tensor:
        """The images (N, C, *S) of the latents."""
        with hooks.borrowed(hooks.owner(self.decode)):
            return self.decode(hooks.normal(self.z))

    def each(self, make: Callable[[Tensor], Tensor]) -> Tensor:
        """What `make` gives for every direction: (K, ...)."""
        return torch.stack([make(d).detach() for d in self.directions])

    def effects(self) -> Tensor:
        """The truth: what the generator changes along each direction, (K, N, *S)."""
        return self.each(lambda d: effect(self.decode, self.z, d))


Reading = Callable[[Case, Part], Tensor]


def _conductance(case: Case, part: Part, place: int = 0) -> Tensor:
    layer = part.layers[place]
    return case.each(lambda d: conductance(part, case.decode, case.z, d, layer).raw)


def _cam(case: Case, part: Part, place: int, method: Method) -> Tensor:
    x, layer = case.x, part.layers[place]
    return case.each(lambda d: cam(part.module, layer, x, direction(d), method).raw)


def _at_input(
    case: Case, part: Part, method: Callable[[torch.nn.Module, Tensor, Score], Tensor]
) -> Tensor:
    x = case.x
    return case.each(lambda d: method(part.module, x, direction(d)).norm(dim=1))


def _times_change(case: Case, part: Part, step: float = 0.01) -> Tensor:
    """Gradient times change at the input: the question USE, to first order."""
    x = case.x

    def one(d: Tensor) -> Tensor:
        along = step * d / d.norm()
        with torch.no_grad():
            change = case.decode(case.z + along) - case.decode(case.z - along)
        return (saliency(part.module, x, direction(d)) * change).sum(1)

    return case.each(one)


def _natural(case: Case, part: Part) -> Tensor:
    parts = [natural_change(part.module, x, case.directions) for x in case.x.split(16)]
    return torch.cat(parts, 1).norm(dim=2)


def _random_weights(case: Case, part: Part, reading: Reading, seed: int = 0) -> Tensor:
    fresh = [module for _, module in cascade(part.module, seed)][-1]
    return reading(case, replace(part, module=fresh))


ENCODER: Mapping[str, Reading] = {
    "conductance, first layer": _conductance,
    "conductance, second layer": partial(_conductance, place=1),
    "gradient x change, input": _times_change,
    "natural change (encoder alone)": _natural,
    "hires-cam, first layer": partial(_cam, place=0, method="hires-cam"),
    "hires-cam, last layer": partial(_cam, place=-1, method="hires-cam"),
    "layer-cam, first layer": partial(_cam, place=0, method="layer-cam"),
    "grad-cam, first layer": partial(_cam, place=0, method="grad-cam"),
    "grad-cam, last layer": partial(_cam, place=-1, method="grad-cam"),
    "grad-cam++, last layer": partial(_cam, place=-1, method="grad-cam++"),
    "|gradient|, input": partial(_at_input, method=saliency),
    "guided backpropagation": partial(_at_input, method=guided_backpropagation),
}


def _discriminator(case: Case, part: Part, place: int = 0) -> Tensor:
    layer = part.layers[place]
    return case.each(lambda d: discriminator_conductance(part, case.decode, case.z, d, layer).raw)


def _discriminator_cam(case: Case, part: Part, method: Method, place: int = 0) -> Tensor:
    x = case.x

    def one(d: Tensor) -> Tensor:
        u = discriminator_direction(part, case.decode, case.z, d)
        return discriminator_reading(part, x, u, part.layers[place], method).raw

    return case.each(one)


DISCRIMINATOR: Mapping[str, Reading] = {
    "conductance, first layer": _discriminator,
    "hires-cam, first layer": partial(_discriminator_cam, method="hires-cam"),
    "grad-cam, last layer": partial(_discriminator_cam, method="grad-cam", place=-2),
}


def controls(readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """Baselines: they know less than a reading should; some know nothing of the direction."""
    names = ("conductance, first layer", "hires-cam, first layer", "natural change (encoder alone)")
    known = [name for name in names if name in readings]
    found: dict[str, Reading] = {
        f"{name}; random weights": partial(_random_weights, reading=readings[name])
        for name in known
    }
    found["conductance, labels drawn by lot"] = _by_lot(readings[names[0]])
    found["change along a random direction"] = _free(_random_change)
    found["mean change over directions"] = _free(lambda case: case.effects().mean(0))
    for make in (baselines.intensity, baselines.sobel, baselines.centre, baselines.uniform):
        found[make.__name__] = _free(partial(_of_images, make))
    return found


def _random_change(case: Case) -> Tensor:
    return baselines.random_change(case.decode, case.z)


def _of_images(make: Callable[[Tensor], Tensor], case: Case) -> Tensor:
    return make(case.x)


def _free(make: Callable[[Case], Tensor]) -> Reading:
    """A map that is the same for every direction."""
    return lambda case, _: torch.stack([make(case)] * len(case.directions))


def _by_lot(reading: Reading) -> Reading:
    return lambda case, part: baselines.shuffled(reading(case, part))


def all_readings(network: str) -> Mapping[str, Reading]:
    """The rows for a kind of network, "encoder" or "discriminator"."""
    readings: Mapping[str, Reading] = ENCODER if network == "encoder" else DISCRIMINATOR
    return {**readings, **controls(readings)}
