"""Directions of a latent space found without labels: (k, D) unit rows, strongest first.

A direction's sign is arbitrary; here its largest component is positive, so that a second run gives
the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from latentkit.latent.points import check_points
from latentkit.latent.singular import check_k, strongest


def pca(z: Tensor, k: int) -> Tensor:
    """Directions in which the latents vary most.

    Harkonen et al., "GANSpace", NeurIPS 2020 (arXiv 2004.02546) use them on StyleGAN's styles.

    Args:
        z: (N, D) latents.
        k: number of directions, at most min(N - 1, D).

    Returns:
        (k, D) orthonormal.

    Raises:
        ValueError: if z is not (N, D) and finite, or k is out of range.
    """
    check_points(z)
    check_k(k, min(len(z) - 1, z.shape[1]), f"{len(z)} latents in {z.shape[1]} dimensions")
    return strongest(z - z.mean(0), k)


def explained(z: Tensor, directions: Tensor) -> Tensor:
    """Share of the latents' total variance along each direction.

    Args:
        z: (N, D) latents, N >= 2.
        directions: (K, D), of any length but zero.

    Returns:
        (K,) in [0, 1]; the shares of D orthogonal directions sum to 1.

    Raises:
        ValueError: if the shapes do not fit, or the latents do not vary.
    """
    check_points(z)
    check_points(directions, "directions")
    if z.shape[1] != directions.shape[1]:
        raise ValueError(
            f"expected directions (K, {z.shape[1]}), got shape {tuple(directions.shape)}"
        )
    centred = z - z.mean(0)
    total = centred.square().sum()
    if total == 0:
        raise ValueError(f"expected latents that vary, got {len(z)} equal ones")
    unit = torch.nn.functional.normalize(directions, dim=1)
    return (centred @ unit.T).square().sum(0) / total


def sefa(weight: Tensor, k: int, *, normalize: bool = False) -> Tensor:
    """Directions that move the first layer most: top eigenvectors of A^T A.

    Shen and Zhou, "Closed-Form Factorization of Latent Semantics in GANs", CVPR 2021
    (arXiv 2007.06600), eq. 8. The code released with the paper first brings every row of A (every
    unit of the layer) to unit length, which the paper does not say: where the rows differ in
    length, the two find other directions.

    Args:
        weight: A, (M, D), maps latents to the first layer: `latentkit.latent.first_layer` finds it.
            A Linear's weight as it is; that of a transposed convolution of a 1 x 1 input, without
            padding, (D, C, *S) as `weight.flatten(1).T`.
        k: number of directions, at most min(M, D).
        normalize: as in the released code; a row of zeros stays zero.

    Returns:
        (k, D) orthonormal.

    Raises:
        ValueError: if the weight is not (M, D) and finite, or k is out of range.
    """
    if weight.ndim != 2:
        raise ValueError(
            f"expected a weight (M, D), got shape {tuple(weight.shape)}; unfold a transposed "
            "convolution's with weight.flatten(1).T"
        )
    check_points(weight, "weight")
    check_k(k, min(weight.shape), f"a weight of shape {tuple(weight.shape)}")
    rows = weight.detach()
    return strongest(torch.nn.functional.normalize(rows, dim=1) if normalize else rows, k)


def axes(dim: int, ks: Sequence[int]) -> Tensor:
    """The coordinate axes themselves, in the order asked.

    Args:
        dim: D.
        ks: indices of the axes, each in [0, D).

    Returns:
        (K, D) float32 rows with a single 1.

    Raises:
        ValueError: if an index is out of range.

    >>> axes(3, [2, 0])
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    outside = [k for k in ks if not 0 <= k < dim]
    if outside:
        raise ValueError(f"expected axes in [0, {dim}), got {outside}")
    return torch.eye(dim)[list(ks)]
