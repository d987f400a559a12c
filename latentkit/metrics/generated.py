"""All that features of real and of generated images say of each other, under one set of names."""

from torch import Tensor

from latentkit.metrics.coverage import density_coverage, precision_recall
from latentkit.metrics.frechet import frechet_distance
from latentkit.metrics.kernel import kernel_distance

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
