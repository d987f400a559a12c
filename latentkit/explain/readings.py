"""Every way tried to show where a network reads a direction, the losers too: rows of DirBench.

Each takes a `Case` and gives maps (K, N, *S_layer) of its K directions, signed or not; what counts
is their size. `pattern` is what `latentkit explain` draws.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from latentkit.explain import baselines
from latentkit.explain.attribution import saliency
from latentkit.explain.cam import cam
from latentkit.explain.case import Case
from latentkit.explain.directions import (
    discriminator_direction,
    discriminator_reading,
    signed_effect,
    use,
)
from latentkit.explain.guided import guided_backpropagation
from latentkit.explain.natural import natural_change
from latentkit.explain.pattern import pattern
from latentkit.explain.randomisation import cascade, randomised
from latentkit.explain.scores import direction, unit_vector
from latentkit.explain.weighing import Method
from latentkit.metrics.saliency import resize
from latentkit.protocols import Score

Reading = Callable[[Case], Tensor]

_PATH = 5  # images along a direction


def read_pattern(case: Case) -> Tensor:
    """The default: `pattern`, its norm over channels.

    Returns:
        (K, N, *S), 0 or more.
    """
    maps = pattern(case.encode, case.decode, case.z, case.directions)
    size: Tensor = torch.linalg.vector_norm(maps, dim=2)
    return size


def read_natural(case: Case) -> Tensor:
    """Without the generator: `natural_change`, its norm over channels. Encoders only.

    Returns:
        (K, N, *S), 0 or more.
    """
    some = [natural_change(case.part.module, x, case.directions) for x in torch.split(case.x, 16)]
    size: Tensor = torch.linalg.vector_norm(torch.cat(some, 1), dim=2)
    return size


def _cam(case: Case, place: int, method: Method) -> Tensor:
    x, layer = case.x, case.part.layers[place]
    return case.each(lambda d: cam(case.part.module, layer, x, direction(d), method).raw)


def _at_input(case: Case, method: Callable[[nn.Module, Tensor, Score], Tensor]) -> Tensor:
    x = case.x
    return case.each(lambda d: method(case.part.module, x, direction(d)).norm(dim=1))


def _gradient_times_change(case: Case) -> Tensor:
    """The question USE, to first order."""
    x = case.x

    def one(d: Tensor) -> Tensor:
        change = signed_effect(case.decode, case.z, d)
        return use(case.part.module, x, change, direction(d))

    return case.each(one)


def _fused(case: Case) -> Tensor:
    """HiRes-CAM of all default layers, each scaled to norm 1, added up at the finest's size."""
    maps = [_of_norm_one(_cam(case, i, "hires-cam")) for i in range(len(case.part.layers))]
    size = maps[0].shape[2:]
    flat = [resize(m.flatten(0, 1), size).reshape(maps[0].shape) for m in maps]
    return torch.stack(flat).sum(0)


def _contrast(case: Case) -> Tensor:
    """What a HiRes-CAM has above the mean of those of all directions."""
    maps = _of_norm_one(_cam(case, 0, "hires-cam"))
    return (maps - maps.mean(0)).clamp_min(0)


def _along_path(case: Case) -> Tensor:
    """|gradient| averaged over images along the direction, one standard deviation to each side."""
    spread = case.z.flatten(1).std(0).mean()

    def one(d: Tensor) -> Tensor:
        unit, slopes = unit_vector(d).to(case.z), torch.zeros_like(case.x)
        for t in torch.linspace(-1, 1, _PATH).tolist():
            x = case.decoded(case.z + t * spread * unit)
            slopes = slopes + saliency(case.part.module, x, direction(d))
        size: Tensor = torch.linalg.vector_norm(slopes, dim=1)
        return size

    return case.each(one)


def _of_norm_one(maps: Tensor) -> Tensor:
    """Absolute values of maps (K, N, *S), each over its norm."""
    size = maps.abs().flatten(2)
    norm: Tensor = size.norm(dim=2, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
    return (size / norm).reshape(maps.shape)


ENCODER: Mapping[str, Reading] = {
    "pattern": read_pattern,
    "natural change": read_natural,
    "HiRes-CAM, first layer": partial(_cam, place=0, method="hires-cam"),
    "HiRes-CAM, last layer": partial(_cam, place=-1, method="hires-cam"),
    "HiRes-CAM, all layers fused": _fused,
    "HiRes-CAM, first layer, above the mean": _contrast,
    "LayerCAM, first layer": partial(_cam, place=0, method="layer-cam"),
    "Grad-CAM, first layer": partial(_cam, place=0, method="grad-cam"),
    "Grad-CAM, last layer": partial(_cam, place=-1, method="grad-cam"),
    "Grad-CAM++, last layer": partial(_cam, place=-1, method="grad-cam++"),
    "|gradient|": partial(_at_input, method=saliency),
    "|gradient|, smoothed along the path": _along_path,
    "guided backpropagation": partial(_at_input, method=guided_backpropagation),
    "gradient x change (use)": _gradient_times_change,
}


def _discriminator_cam(case: Case, method: Method, place: int) -> Tensor:
    x, part = case.x, case.part
    layer = part.layers[max(place, -len(part.layers))]

    def one(d: Tensor) -> Tensor:
        u = discriminator_direction(part, case.decode, case.z, d)
        return discriminator_reading(part, x, u, layer, method).raw

    return case.each(one)


DISCRIMINATOR: Mapping[str, Reading] = {
    "pattern": read_pattern,
    "HiRes-CAM, first layer": partial(_discriminator_cam, method="hires-cam", place=0),
    "Grad-CAM, last layer but one": partial(_discriminator_cam, method="grad-cam", place=-2),
}


def _change_of_scenes(case: Case) -> Tensor:
    """No reading: how like the generator's change is that of the scenes it was trained on?"""
    if case.scenes is None:
        raise ValueError("expected a case with known scenes, got none")
    return case.scenes.changes


CEILING: Mapping[str, Reading] = {"change of the drawn scene": _change_of_scenes}
"""For cases with known scenes: what is missing to 1 is the generator's and the direction's."""


def controls(readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """What a reading must beat: networks that learned nothing, guesses, direction-free maps.

    Args:
        readings: by name, such as `ENCODER`; those that have a control with random weights get it.
    """
    sane = ("pattern", "natural change", "HiRes-CAM, first layer", "gradient x change (use)")
    found = {
        f"{name}, random weights": _untrained(readings[name]) for name in sane if name in readings
    }
    found["pattern, labels drawn by lot"] = lambda case: baselines.shuffled(read_pattern(case))
    found["change along a random direction"] = _same_for_all(
        lambda case: baselines.random_change(case.decode, case.z)
    )
    found["mean change over directions"] = _same_for_all(
        lambda case: baselines.mean_change(case.effects())
    )
    for make in (baselines.intensity, baselines.sobel, baselines.centre, baselines.uniform):
        found[make.__name__] = _same_for_all(partial(_of_images, make))
    return found


def stages(case: Case, seed: int = 0) -> dict[str, Case]:
    """The case with more and more layers of the network that have learned nothing, top down.

    Args:
        case: stays as it is.
        seed: of the weights; see `randomisation.cascade`.

    Returns:
        By the name of the layer that was the last to go.
    """
    return {name: _with(case, module) for name, module in cascade(case.part.module, seed)}


def _untrained(reading: Reading) -> Reading:
    return lambda case: reading(_with(case, randomised(case.part.module)))


def _with(case: Case, module: nn.Module) -> Case:
    return replace(case, part=replace(case.part, module=module))


def _of_images(make: Callable[[Tensor], Tensor], case: Case) -> Tensor:
    return make(case.x)


def _same_for_all(make: Callable[[Case], Tensor]) -> Reading:
    return lambda case: torch.stack([make(case)] * len(case.directions))
