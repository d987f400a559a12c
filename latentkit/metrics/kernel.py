"""Kernel distance between two sets of features: unbiased, so sets of other sizes compare."""

import torch
from torch import Tensor

from latentkit.metrics.frechet import check_features


def kernel_distance(
    a: Tensor, b: Tensor, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Squared maximum mean discrepancy under a cubic kernel, averaged over random subsets.

    Binkowski et al., "Demystifying MMD GANs", ICLR 2018 (arXiv 1801.01401), section 4: the kernel
    (x . y / F + 1)^3 and the unbiased estimate, which is about 0 for two sets of one distribution
    and may be below. It is "KID" only with Inception features; with others, name them.

    Args:
        a: (N, F) features, N >= 2.
        b: (M, F) features, M >= 2.
        subsets: number of pairs of subsets.
        size: of each subset, drawn without replacement; at most N and M, or all are taken.
        seed: of the subsets.

    Returns:
        Mean and standard deviation over the subsets (0 for a single one), without unit; computed
        in float64 on the CPU.

    Raises:
        ValueError: if a set has fewer than two rows, F differs, a feature is not finite, there is
            no subset, or the size is below 2.
    """
    check_features(a, b)
    if subsets < 1 or size < 2:
        raise ValueError(f"expected subsets >= 1 and size >= 2, got {subsets} and {size}")
    a, b = (x.detach().to("cpu", torch.float64) for x in (a, b))
    generator = torch.Generator().manual_seed(seed)
    size = min(size, len(a), len(b))
    found = torch.stack(
        [_squared_mmd(_some(a, size, generator), _some(b, size, generator)) for _ in range(subsets)]
    )
    return found.mean().item(), found.std(correction=min(1, subsets - 1)).item()


def _some(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """(N, F) -> `size` different rows."""
    return x[torch.randperm(len(x), generator=generator)[:size]]


def _squared_mmd(a: Tensor, b: Tensor) -> Tensor:
    """Two (M, F) -> the unbiased estimate, a scalar: no row is compared with itself."""
    pairs = len(a) * (len(a) - 1)
    within = [(k.sum() - k.diagonal().sum()) / pairs for k in (_kernel(a, a), _kernel(b, b))]
    return within[0] + within[1] - 2 * _kernel(a, b).mean()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """(N, F), (M, F) -> (N, M)."""
    return (a @ b.T / a.shape[1] + 1) ** 3
