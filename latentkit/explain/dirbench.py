"""DirBench: does a heatmap of a direction show what the generator changes along THAT direction?

The headline is direction retrieval (see `faithfulness`): a map is matched against the changes along
all K directions of the same image; a guess wins 1 / K. The other measures are won or nearly won by
maps that know nothing of the direction, and stand beside it to show just that.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from latentkit.explain.faithfulness import direction_retrieval
from latentkit.explain.readings import Case, Reading
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


def score_maps(maps: Tensor, truths: Tensor) -> Row:
    """All measures of the maps of K directions.

    Args:
        maps: (K, N, *S_layer).
        truths: (K, N, *S), not negative.

    Returns:
        By name: retrieval, margin (cosine with the own truth minus that with the likeliest other),
        spearman (where anything changes), iou (at equal area), pointing, energy (on the changed
        places).
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
    return {name: _measured(value.double().mean(0)) for name, value in values.items()}


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
    """
    truths = case.effects()
    return {name: score_maps(readings[name](case), truths) for name in watch(readings)}


def _measured(values: Tensor) -> Measure:
    return Measure(float(values.mean()), *mean_interval(values))
