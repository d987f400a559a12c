"""Directions that matter at one latent, without forming the decoder's Jacobian."""

from collections.abc import Callable

import torch
from torch import Tensor

from latentkit.latent.derivative import pullback, pushforward
from latentkit.latent.points import one_point
from latentkit.latent.singular import check_k, strongest, with_signs
from latentkit.protocols import Decode


@torch.no_grad()
def local(
    decode: Decode,
    z: Tensor,
    k: int,
    *,
    oversample: int = 8,
    iterations: int = 4,
    batch_size: int = 64,
    seed: int = 0,
) -> Tensor:
    """Directions that change the image at z most: top right singular vectors of the Jacobian J.

    Ramesh et al., "A Spectral Regularizer for Unsupervised Disentanglement", 2018
    (arXiv 1812.01161); Choi et al., "Do Not Escape From the Manifold", ICLR 2022
    (arXiv 2106.06959). By the randomised subspace iteration of Halko, Martinsson and Tropp, SIAM
    Review 2011 (arXiv 0909.4061), algorithm 4.4, on products with J and its transpose alone:
    (k + oversample) (2 iterations + 1) of them, whatever D is.

    Args:
        decode: latents (N, D) -> images (N, C, *S), sample by sample (a model in eval mode),
            differentiable.
        z: (D,) or (1, D), where to look.
        k: number of directions, at most D.
        oversample: further random directions that make the first k exact.
        iterations: more of them where singular values lie close together.
        batch_size: products per call of `decode`.
        seed: of the random directions.

    Returns:
        (k, D) orthonormal, in z's dtype and on its device.

    Raises:
        ValueError: if z is not one finite latent, a number is out of range, or the image does not
            change with the latent.
    """
    point = one_point(z)
    dim = point.shape[1]
    check_k(k, dim, f"a latent of {dim} dimensions")
    if oversample < 0 or iterations < 1 or batch_size < 1:
        raise ValueError(
            "expected oversample >= 0, iterations >= 1 and batch_size >= 1, got "
            f"{oversample}, {iterations} and {batch_size}"
        )
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(dim, min(dim, k + oversample), generator=generator).to(point)
    basis = _orthonormal(start)
    for _ in range(iterations):
        basis = _orthonormal(gram_rows(decode, point, basis.T, batch_size=batch_size).T)
    changes = torch.cat(_pushed(decode, point, basis.T, batch_size))
    check_k(k, min(changes.shape), f"a Jacobian of {changes.shape[1]} rows and {dim} columns")
    if not changes.any():
        raise ValueError("expected an image that changes with the latent, all products are zero")
    return with_signs(strongest(changes.T, k).to(basis) @ basis.T).to(z.dtype)


def gram_rows(
    decode: Decode,
    point: Tensor,
    rows: Tensor,
    weight: Callable[[Tensor], Tensor] = lambda change: change,
    batch_size: int = 64,
) -> Tensor:
    """Products of vectors with J^T W J: one forward-mode and one reverse-mode derivative each.

    Args:
        decode: latents (N, D) -> images (N, C, *S), sample by sample.
        point: (1, D).
        rows: (K, D) vectors.
        weight: multiplies changes of the image (N, C, *S) by W, which is diagonal.
        batch_size: products per call of `decode`.

    Returns:
        (K, D).
    """
    found = []
    for tangents in torch.split(rows, batch_size):
        here = point.expand(len(tangents), -1).contiguous()
        change = weight(pushforward(decode, here, tangents.contiguous()))
        found.append(pullback(decode, here, change))
    return torch.cat(found)


def _pushed(decode: Decode, point: Tensor, rows: Tensor, batch_size: int) -> list[Tensor]:
    return [
        pushforward(decode, point.repeat(len(part), 1), part.contiguous()).flatten(1)
        for part in torch.split(rows, batch_size)
    ]


def _orthonormal(columns: Tensor) -> Tensor:
    wide = columns.to(torch.promote_types(columns.dtype, torch.float32))
    basis: Tensor = torch.linalg.qr(wide)[0]
    return basis.to(columns.dtype)
