"""DirBench: does a heatmap of a direction show what the generator changes along THAT direction?

The headline is direction retrieval (see `faithfulness`): a map is matched against the changes along
all K directions of the same image; a guess wins 1 / K. The other measures are won or nearly won by
maps that know nothing of the direction, and stand beside it to show just that.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from latentkit.explain.case import Case
from latentkit.explain.directions import completeness_error, signed_effect, use, use_along
from latentkit.explain.faithfulness import direction_retrieval
from latentkit.explain.readings import Reading
from latentkit.explain.scores import direction, unit_vector
from latentkit.metrics.bootstrap import mean_interval
from latentkit.metrics.localisation import (
    energy_in_mask,
    foreground_spearman,
    iou_equal_area,
    pointing,
)

_MASK = 0.25  # a place is changed where it changes by more than this share of the largest change


@dataclass(frozen=True)
class Measure:
    """A mean over N images (each its mean over K directions) with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


Row = dict[str, Measure]


def score_maps(maps: Tensor, truths: Tensor, case: Case | None = None) -> Row:
    """All measures of the maps of K directions.

    Args:
        maps: (K, N, *S_layer).
        truths: (K, N, *S), not negative.
        case: where they come from, if it knows more than the truths.

    Returns:
        By name: retrieval, margin (cosine with the own truth minus that with the likeliest other),
        spearman (where anything changes), iou (at equal area), pointing, energy (on the changed
        places); with known scenes owner (energy on what the factor is of); with a judge that sees
        anything insertion.
    """
    found = direction_retrieval(maps, truths)
    flat_maps, flat_truths = maps.flatten(0, 1), truths.flatten(0, 1)
    masks = flat_truths > _MASK * flat_truths.flatten(1).amax(1).view(-1, *[1] * (truths.ndim - 2))
    single = {
        "iou": iou_equal_area(flat_maps, flat_truths, _MASK),
        "pointing": pointing(flat_maps, masks),
        "energy": energy_in_mask(flat_maps, masks),
    }
    values = {"retrieval": found.won.double(), "margin": found.margin}
    values["spearman"] = foreground_spearman(maps, truths)
    values |= {name: value.reshape(maps.shape[:2]) for name, value in single.items()}
    if case is not None and case.scenes is not None:
        owners = case.scenes.owners.flatten(0, 1)
        values["owner"] = energy_in_mask(flat_maps, owners).reshape(maps.shape[:2])
    if case is not None and case.judge is not None:
        values["insertion"] = case.insertion(maps)
    means = {name: value.double().nanmean(0) for name, value in values.items()}
    return {name: _measured(value) for name, value in means.items() if not value.isnan().all()}


def bench(
    case: Case,
    readings: Mapping[str, Reading],
    watch: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> dict[str, Row]:
    """Scores readings by name, all against the same truths.

    Args:
        case: the directions and the network.
        readings: what to score.
        watch: passes the names on, such as a progress bar.

    Returns:
        By the name of the reading what `score_maps` gives.
    """
    truths = case.effects()
    return {name: score_maps(readings[name](case), truths, case) for name in watch(readings)}


def completeness(case: Case, step: float = 0.5) -> dict[str, float]:
    """How far the maps of USE of an encoder are from adding up to the change of its score.

    Args:
        case: of an encoder.
        step: to each side, in standard deviations of the latents.

    Returns:
        Medians over images and directions of |sum - change| / |change|, see `completeness_error`:
        use (gradient times change, first order) and use_along (integrated along the way).
    """
    errors: dict[str, list[Tensor]] = {"use": [], "use_along": []}
    length = step * case.z.flatten(1).std(0).mean()
    for d in case.directions:
        along, score = length * unit_vector(d).to(case.z), direction(d)
        ends = case.decoded(case.z - along), case.decoded(case.z + along)
        change = 2 * length * signed_effect(case.decode, case.z, d)
        maps = {
            "use": use(case.part.module, case.x, change, score),
            "use_along": use_along(case.part.module, *ends, score),
        }
        for name, found in maps.items():
            errors[name].append(completeness_error(found, case.part.module, *ends, score))
    return {name: float(torch.cat(found).median()) for name, found in errors.items()}


def _measured(values: Tensor) -> Measure:
    """Of a value per image; an image without one (NaN) is left out."""
    found = values[~values.isnan()]
    return Measure(float(found.mean()), *mean_interval(found))
