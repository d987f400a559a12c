"""Kernel distance between two sets of features: unbiased, so sets of other sizes compare."""

import torch
from torch import Tensor

from latentkit.metrics.frechet import check_features

_CHUNK = 1024  # rows whose kernels with all others are held at a time


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


def kernel_error(a: Tensor, b: Tensor) -> float:
    """Standard error of the kernel distance of two whole sets, over other samples of both.

    From the first term of Hoeffding's decomposition: what one row of a adds is twice its mean
    kernel with the others of a, less twice that with b. Where both sets have one distribution that
    term vanishes, and noise of the means makes the error too large.

    Args:
        a: (N, F) features, N >= 2.
        b: (M, F) features, M >= 2.

    Returns:
        The error, without unit; computed in float64 on the CPU.

    Raises:
        ValueError: if a set has fewer than two rows, F differs, or a feature is not finite.
    """
    check_features(a, b)
    a, b = (x.detach().to("cpu", torch.float64) for x in (a, b))
    variances = [4 * _excess(x, y).var() / len(x) for x, y in ((a, b), (b, a))]
    return (variances[0] + variances[1]).sqrt().item()


def _excess(x: Tensor, y: Tensor) -> Tensor:
    """(N, F), (M, F) -> mean kernel of each x with the others of x, less that with y (N,)."""
    rows = []
    for part in torch.split(x, _CHUNK):
        own = (_kernel(part, x).sum(1) - _kernel_with_itself(part)) / (len(x) - 1)
        rows.append(own - _kernel(part, y).mean(1))
    return torch.cat(rows)


def _kernel_with_itself(x: Tensor) -> Tensor:
    """(N, F) -> (N,)."""
    return (x.square().sum(1) / x.shape[1] + 1) ** 3


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
