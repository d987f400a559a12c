"""Are generated samples real ones (fidelity), and are all real ones generated (coverage)?

Both questions are asked of features (N, F): the neighbourhood of a sample is the ball around it
that reaches its k-th nearest neighbour in its own set. Distances are Euclidean; sets are compared
in chunks, so memory grows with N and not with N^2.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK = 1024  # rows whose distances to all others are held at a time


class PrecisionRecall(NamedTuple):
    """Shares, in [0, 1].

    Attributes:
        precision: generated samples within a neighbourhood of a real one.
        recall: real samples within a neighbourhood of a generated one.
    """

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """Scores whose neighbourhoods are all of real samples.

    Attributes:
        density: real neighbourhoods that hold a generated sample, over k: 1 on average for equal
            distributions, more where generated samples crowd where real ones do.
        coverage: share of real neighbourhoods that hold a generated sample, in [0, 1].
    """

    density: float
    coverage: float


class Each(NamedTuple):
    """What precision, recall, density and coverage are the means of.

    Attributes:
        precision: (M,) 1 for generated samples within a neighbourhood of a real one, else 0.
        recall: (N,) 1 for real samples within a neighbourhood of a generated one, else 0.
        density: (M,) real neighbourhoods that hold the generated sample, over k.
        coverage: (N,) 1 for real neighbourhoods that hold a generated sample, else 0.
    """

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


def each_sample(real: Tensor, fake: Tensor, k: int, density_k: int) -> Each:
    """What every sample adds to the four scores.

    Args:
        real: (N, F) features, N > k and density_k.
        fake: (M, F) features, M > k and density_k.
        k: which neighbour sets the radius of precision and recall.
        density_k: which neighbour sets that of density and coverage.

    Raises:
        ValueError: as `precision_recall` and `density_coverage` do.
    """
    return Each(*_fidelity(real, fake, k), *_density(real, fake, density_k))


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall.

    Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
    NeurIPS 2019 (arXiv 1904.06991), eqs. 1 and 2. One outlier widens its neighbourhood, so both
    are optimistic.

    Args:
        real: (N, F) features, N > k.
        fake: (M, F) features, M > k.
        k: which neighbour sets the radius; 3 in the paper.

    Raises:
        ValueError: if F differs, a set has no k-th neighbour, or a feature is not finite.
    """
    return PrecisionRecall(*(inside.mean().item() for inside in _fidelity(real, fake, k)))


def _fidelity(real: Tensor, fake: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Whether each generated sample, and each real one, is within a neighbourhood: (M,), (N,)."""
    real, fake = _checked(real, fake, k)
    generated, held = _holders(fake, real, _radii(real, k)), _holders(real, fake, _radii(fake, k))
    return (generated > 0).double(), (held > 0).double()


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> DensityCoverage:
    """Density and coverage, which outliers among the generated samples do not inflate.

    Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020
    (arXiv 2002.09797), eqs. 3 and 4. For equal distributions and many samples the coverage is
    expected at 1 - 2^-k.

    Args:
        real: (N, F) features, N > k.
        fake: (M, F) features, M > k.
        k: which neighbour sets the radius; 5 in the paper.

    Raises:
        ValueError: if F differs, a set has no k-th neighbour, or a feature is not finite.
    """
    return DensityCoverage(*(values.mean().item() for values in _density(real, fake, k)))


def _density(real: Tensor, fake: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Neighbourhoods over k of each generated sample; whether each real one has any: (M,), (N,)."""
    real, fake = _checked(real, fake, k)
    radii = _radii(real, k)
    nearest = torch.cat([torch.cdist(part, fake).amin(1) for part in torch.split(real, _CHUNK)])
    return _holders(fake, real, radii).double() / k, (nearest <= radii).double()


def _radii(x: Tensor, k: int) -> Tensor:
    """(N, F) -> distance of each to its k-th nearest other one (N,)."""
    # The nearest of all is the sample itself.
    parts = [torch.cdist(part, x).kthvalue(k + 1, dim=1).values for part in torch.split(x, _CHUNK)]
    return torch.cat(parts)


def _holders(x: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """(N, F), (M, F), (M,) -> how many of the balls hold each x (N,)."""
    parts = [(torch.cdist(part, centres) <= radii).sum(1) for part in torch.split(x, _CHUNK)]
    return torch.cat(parts)


def _checked(real: Tensor, fake: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if k < 1:
        raise ValueError(f"expected k >= 1, got {k}")
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"expected features (N, F) and (M, F), got {tuple(real.shape)} and {tuple(fake.shape)}"
        )
    if min(len(real), len(fake)) <= k:
        raise ValueError(
            f"expected more than k = {k} samples in each set, got {len(real)} and {len(fake)}"
        )
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise ValueError("expected finite features, got NaN or infinity")
    # Double precision, since cdist of large sets goes through inner products and cancels.
    return real.detach().to("cpu", torch.float64), fake.detach().to("cpu", torch.float64)
