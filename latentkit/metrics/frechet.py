"""Distance between two sets of features, as between the Gaussians fitted to them."""

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance between the Gaussians fitted to two feature sets.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium", NeurIPS 2017 (arXiv 1706.08500), eq. 6:
    |mean_a - mean_b|^2 + trace(C_a + C_b - 2 (C_a C_b)^(1/2)).
    It is "FID" only with Inception features; with others, name the features beside the number.
    It is biased upwards for few samples, so compare equal sizes only.

    Args:
        a: (N, F) features, N >= 2.
        b: (M, F) features, M >= 2.

    Returns:
        The distance, in the square of the features' unit; computed in float64 on the CPU.

    Raises:
        ValueError: if a set has fewer than two rows, or F differs, or a feature is not finite.

    >>> frechet_distance(torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [4.0]]))
    9.0
    """
    check_features(a, b)
    mean_a, cov_a = _fit(a)
    mean_b, cov_b = _fit(b)
    # (C_a C_b)^(1/2) has the trace of (C_a^(1/2) C_b C_a^(1/2))^(1/2), whose argument is symmetric:
    # no complex roots, and no failure where a covariance is singular.
    root = _sqrt(cov_a)
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return float(distance.clamp(min=0))


def _fit(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, F) -> mean (F,) and unbiased covariance (F, F), in float64."""
    x = x.detach().to("cpu", torch.float64)
    centred = x - x.mean(0)
    return x.mean(0), centred.T @ centred / (len(x) - 1)


def _sqrt(cov: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix (F, F)."""
    values, vectors = torch.linalg.eigh(cov)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def check_features(a: Tensor, b: Tensor) -> None:
    """Raises a ValueError unless they are finite, (N, F) and (M, F), of 2 rows or more each."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            "expected features (N, F) and (M, F) with N >= 2 and M >= 2, got "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("expected finite features, got NaN or infinity")
