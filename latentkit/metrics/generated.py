"""All that features of real and of generated images say of each other, under one set of names."""

from collections.abc import Mapping

from torch import Tensor

from latentkit.metrics.bootstrap import mean_interval, share_interval
from latentkit.metrics.coverage import density_coverage, each_sample, precision_recall
from latentkit.metrics.frechet import frechet_distance
from latentkit.metrics.kernel import kernel_distance, kernel_error

_SUBSETS, _SUBSET = 100, 1000  # of the kernel distance
_FIDELITY_K, _DENSITY_K = 3, 5  # neighbours, as in the papers


def compared(
    real: Tensor, fake: Tensor, space: str, seed: int = 0
) -> tuple[dict[str, float], dict[str, int]]:
    """Frechet and kernel distance, precision, recall, density and coverage.

    What sets are too small for is left out: distances need two features on each side, shares six.

    Args:
        real: (N, F) features.
        fake: (M, F) features.
        space: their name, which every number's name ends with.
        seed: of the subsets that the kernel distance is averaged over.

    Returns:
        Numbers, and the settings that they depend on.
    """
    numbers: dict[str, float] = {}
    settings: dict[str, int] = {}
    if min(len(real), len(fake)) > 1:
        numbers[f"frechet_{space}"] = frechet_distance(real, fake)
        found, settings = _kernel(real, fake, space, seed)
        numbers |= found
    if min(len(real), len(fake)) > _DENSITY_K:
        shares = precision_recall(real, fake, _FIDELITY_K)._asdict()
        shares |= density_coverage(real, fake, _DENSITY_K)._asdict()
        numbers |= {f"{key}_{space}": value for key, value in shares.items()}
        settings |= {"precision_recall_k": _FIDELITY_K, "density_coverage_k": _DENSITY_K}
    return numbers, settings


def _kernel(
    real: Tensor, fake: Tensor, space: str, seed: int
) -> tuple[dict[str, float], dict[str, int]]:
    """Kernel distance with, if the subsets differ on both sides, its deviation over them."""
    size = min(_SUBSET, len(real), len(fake))
    subsets = 1 if size == max(len(real), len(fake)) else _SUBSETS
    mean, spread = kernel_distance(real, fake, subsets, size, seed)
    numbers = {f"kernel_{space}": mean}
    if size < min(len(real), len(fake)):
        numbers[f"kernel_{space}_sd"] = spread
    return numbers, {"kernel_subsets": subsets, "kernel_subset_size": size}


def intervals(
    real: Tensor, fake: Tensor, numbers: Mapping[str, float], space: str, seed: int = 0
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """95 % intervals of the numbers of `compared` that have an honest one.

    The kernel distance's is 1.96 standard errors about it. Precision and density are means over
    generated samples, recall and coverage over real ones, so their intervals are about other
    samples of that side in the same neighbourhoods. The Frechet distance has none: a resample
    repeats samples, which narrows the fitted Gaussians and moves the distance up.

    Args:
        real: (N, F) features.
        fake: (M, F) features.
        numbers: that `compared` found.
        space: the features' name.
        seed: of the resamples.

    Returns:
        Ends, as `<number>_ci95`; and over what they are.
    """
    found, settings = {}, {}
    if f"kernel_{space}" in numbers:
        middle, error = numbers[f"kernel_{space}"], kernel_error(real, fake)
        found[f"kernel_{space}"] = (middle - 1.96 * error, middle + 1.96 * error)
        settings["kernel_ci95"] = "standard error over real and generated images"
    if f"density_{space}" in numbers:
        each = each_sample(real, fake, _FIDELITY_K, _DENSITY_K)
        shares = {"precision": each.precision, "recall": each.recall, "coverage": each.coverage}
        found |= {f"{name}_{space}": share_interval(values) for name, values in shares.items()}
        if (each.density != each.density[0]).any():  # else resamples cannot tell
            found[f"density_{space}"] = mean_interval(each.density, seed=seed)
        settings["precision_density_ci95"] = "over generated images, in the same neighbourhoods"
        settings["recall_coverage_ci95"] = "over real images, in the same neighbourhoods"
    return {f"{name}_ci95": list(ends) for name, ends in found.items()}, settings
