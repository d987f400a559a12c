"""How far other latents would turn principal components: their bootstrap cones."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from latentkit.latent.directions import pca
from latentkit.latent.points import check_points
from latentkit.latent.watch import Watch


def bootstrap_pca(
    z: Tensor, k: int, *, resamples: int = 200, seed: int = 0, watch: Watch = iter
) -> Tensor:
    """Principal components of resampled latents, each in the place and sign of the one it is.

    In a resample, components of close variances change places: each of `directions.pca` is matched
    with the one of all D that it is closest to (the assignment of the largest sum of absolute
    cosines). What then still turns is real: components of equal variance are any basis of their
    plane, and have wide cones. See Timmerman, Kiers and Smilde, "Estimating confidence intervals
    for principal component loadings: A comparison between the bootstrap and asymptotic results",
    2007.

    Args:
        z: (N, D) latents.
        k: number of components, at most min(N - 1, D).
        resamples: B >= 1, of the latents with replacement.
        seed: of the draws.
        watch: given the numbers of the resamples; a progress bar, for example.

    Returns:
        (B, k, D) unit vectors, in double precision on the CPU.

    Raises:
        ValueError: if z is not (N, D) and finite, k is out of range, or B < 1.
    """
    check_points(z)
    if resamples < 1:
        raise ValueError(f"expected resamples >= 1, got {resamples}")
    points = z.detach().to("cpu", torch.float64)
    points = points - points.mean(0)
    found, rng = pca(points, k), np.random.default_rng(seed)
    shares = np.full(len(z), 1 / len(z))
    rows = []
    for _ in watch(range(resamples)):
        weight = torch.from_numpy(rng.multinomial(len(z), shares)).double()[:, None] / len(z)
        mean = (weight * points).sum(0)
        scatter = (weight * points).T @ points - torch.outer(mean, mean)
        rows.append(_matched(found, torch.linalg.eigh(scatter).eigenvectors.T))
    return torch.stack(rows)


def half_angles(directions: Tensor, resampled: Tensor) -> Tensor:
    """Half-angles in degrees of the cones that hold 95 % of the resampled directions, (K,).

    Args:
        directions: (K, D), of any length but zero.
        resampled: (B, K, D), the same directions of B resamples.
    """
    ours = directions.detach().to(resampled)[None]
    cosines = torch.nn.functional.cosine_similarity(ours, resampled, dim=2).clamp(-1, 1)
    return torch.rad2deg(cosines.quantile(0.05, dim=0).acos())


def _matched(found: Tensor, others: Tensor) -> Tensor:
    """For each of (k, D) another one of (D, D), in its sign."""
    cosines = found @ others.T
    _, columns = linear_sum_assignment(-cosines.abs().numpy())
    chosen = others[torch.from_numpy(columns)]
    signs = cosines.gather(1, torch.from_numpy(columns)[:, None]).sign()
    return torch.where(signs < 0, -chosen, chosen)
