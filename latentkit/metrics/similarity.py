"""How alike two latent spaces are, from latents of the same images in both."""

import torch
from torch import Tensor


def cka(a: Tensor, b: Tensor) -> float:
    """Centred kernel alignment with linear kernels, debiased.

    Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019
    (arXiv 1905.00414), with the unbiased estimator of HSIC by Song et al., "Feature Selection via
    Dependence Maximization", JMLR 2012, in its three terms. Rotations, shifts and one common factor
    change nothing; unrelated spaces have about 0, below it by chance, whatever their sizes, where
    the plain form nears 1 as dimensions outnumber images.

    Args:
        a: (N, D) latents, N >= 4.
        b: (N, E) latents of the same images.

    Returns:
        At most 1, where the spaces are one but for a rotation, a shift and a factor; NaN where the
        latents of one do not vary.

    Raises:
        ValueError: if the numbers of images differ or are below 4.
    """
    x, y = _pair(a, b, 4)
    same = _unbiased(x, x) * _unbiased(y, y)
    return float(_unbiased(x, y) / same.sqrt()) if same > 0 else float("nan")


def rotation_fit(a: Tensor, b: Tensor) -> float:
    """Share of b's variance that the best rotation, shift and factor of a explain.

    Orthogonal Procrustes (Schonemann, Psychometrika 1966): both centred and scaled to norm 1, the
    nuclear norm of a^T b, squared. The smaller space is embedded in the larger. Unlike a regression
    it cannot stretch one axis against another, and it is the same both ways. It grows with D / N by
    chance, so take many images.

    Args:
        a: (N, D) latents, N >= 2.
        b: (N, E) latents of the same images.

    Returns:
        In [0, 1]; NaN where the latents of one do not vary.

    Raises:
        ValueError: if the numbers of images differ or are below 2.
    """
    x, y = _pair(a, b, 2)
    size = x.norm() * y.norm()
    if size == 0:
        return float("nan")
    return float((torch.linalg.svdvals(x.T @ y).sum() / size).square().clamp(max=1))


def _pair(a: Tensor, b: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Both in double precision and centred."""
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or len(a) < least:
        raise ValueError(
            f"expected latents (N, D) and (N, E) of the same {least} images or more, got "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    return a.double() - a.double().mean(0), b.double() - b.double().mean(0)


def _unbiased(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased HSIC of linear kernels, up to the factor N (N - 3), without forming them.

    With K = x x^T, its diagonal r set to 0: as x is centred, the rows of K sum to -r.
    """
    n = len(x)
    r, s = x.square().sum(1), y.square().sum(1)
    both = (x.T @ y).square().sum() - r @ s
    return both + r.sum() * s.sum() / ((n - 1) * (n - 2)) - 2 * (r @ s) / (n - 2)
