"""Directions that change one region of the image and leave the rest alone."""

import torch
from torch import Tensor

from latentkit.latent.derivative import pushforward
from latentkit.latent.local import gram_rows
from latentkit.latent.points import one_point
from latentkit.latent.singular import check_k, with_signs
from latentkit.protocols import Decode


@torch.no_grad()
def region(
    decode: Decode,
    z: Tensor,
    mask: Tensor,
    k: int,
    *,
    null: int | None = None,
    tolerance: float = 1e-2,
    batch_size: int = 64,
) -> Tensor:
    """Directions that change the image most inside a mask, of those that hardly change it outside.

    The top eigenvectors of J_in^T J_in within the null space of J_out^T J_out: Zhu et al.,
    "Low-Rank Subspaces in GANs", NeurIPS 2021 (arXiv 2106.04488), section 3, where the null space
    is that of the low-rank part. No Jacobian is formed, only two D x D matrices. A network rarely
    has an exact null space: see with `leakage` what the outside still does.

    Args:
        decode: latents (N, D) -> images (N, C, *S), sample by sample (a model in eval mode),
            differentiable.
        z: (D,) or (1, D), where to look.
        mask: (*S) or what broadcasts to (C, *S), values in [0, 1]: 1 inside.
        k: number of directions, at most the size of the null space.
        null: size of the null space: so many directions that change the outside least. None takes
            those that change it by at most `tolerance` of what the strongest does.
        tolerance: see `null`.
        batch_size: products per call of `decode`.

    Returns:
        (k, D) orthonormal, strongest inside first, in z's dtype and on its device.

    Raises:
        ValueError: if z is not one finite latent, the mask does not fit or has no inside or no
            outside, or the null space is smaller than k.
    """
    point = one_point(z)
    dim = point.shape[1]
    check_k(k, dim, f"a latent of {dim} dimensions")
    if null is not None and not 1 <= null <= dim:
        raise ValueError(f"expected null from 1 to {dim}, got {null}")
    if not 0 <= tolerance < 1:
        raise ValueError(f"expected tolerance in [0, 1), got {tolerance}")
    inside = _fitting(mask, decode(point)).to(point)
    basis = torch.eye(dim, dtype=z.dtype, device=z.device)
    outside = _weighted(decode, point, 1 - inside, basis, batch_size)
    quiet = _null_space(outside, k, null, tolerance)
    within = quiet.T @ _weighted(decode, point, inside, basis, batch_size) @ quiet
    values, vectors = torch.linalg.eigh(within)
    if values[-1] <= 0:
        raise ValueError("expected an image that changes inside the mask, it does not")
    return with_signs((quiet @ vectors.flip(1)[:, :k]).T).to(z.dtype)


@torch.no_grad()
def leakage(decode: Decode, z: Tensor, mask: Tensor, directions: Tensor) -> Tensor:
    """How much a small step along each direction changes outside a mask, against inside.

    Args:
        decode: latents (N, D) -> images (N, C, *S), sample by sample (a model in eval mode).
        z: (D,) or (1, D), where to look.
        mask: (*S) or what broadcasts to (C, *S), values in [0, 1]: 1 inside.
        directions: (K, D).

    Returns:
        (K,) the ratio of the root mean square changes per pixel, outside over inside: 0 is
        perfect, 1 a direction that does not care; infinite where nothing changes inside, NaN
        where nothing changes at all.

    Raises:
        ValueError: if z is not one finite latent, or the mask or the directions do not fit.
    """
    point = one_point(z)
    if directions.ndim != 2 or directions.shape[1] != point.shape[1]:
        raise ValueError(
            f"expected directions (K, {point.shape[1]}), got shape {tuple(directions.shape)}"
        )
    inside = _fitting(mask, decode(point)).to(point)
    here = point.repeat(len(directions), 1)
    squares = pushforward(decode, here, directions.to(point).contiguous()).square()
    means = [(squares * weight).flatten(1).sum(1) / weight.sum() for weight in (1 - inside, inside)]
    return (means[0] / means[1]).sqrt()


def _fitting(mask: Tensor, image: Tensor) -> Tensor:
    """The mask in the shape of one image, (1, C, *S)."""
    try:
        full = mask.broadcast_to(image.shape)
    except RuntimeError as error:
        raise ValueError(
            f"expected a mask of the image's shape {tuple(image.shape[1:])}, got "
            f"{tuple(mask.shape)}"
        ) from error
    if not ((full >= 0) & (full <= 1)).all():
        raise ValueError("expected a mask with values in [0, 1], 1 inside")
    if not full.any() or (full == 1).all():
        where = "no inside" if not full.any() else "no outside"
        raise ValueError(f"expected a mask with an inside and an outside, it has {where}")
    return full


def _weighted(
    decode: Decode, point: Tensor, weight: Tensor, basis: Tensor, batch_size: int
) -> Tensor:
    """J^T W^2 J in double precision, exactly symmetric: (D, D)."""
    rows = gram_rows(decode, point, basis, lambda change: change * weight**2, batch_size)
    return ((rows + rows.T) / 2).double()


def _null_space(gram: Tensor, k: int, null: int | None, tolerance: float) -> Tensor:
    """Orthonormal columns (D, n) of the directions that the Gram matrix shrinks most, n >= k."""
    values, vectors = torch.linalg.eigh(gram)  # ascending
    count = null or int((values <= tolerance**2 * values[-1]).sum())
    if not 1 <= k <= count:
        sizes = (values.clamp_min(0) / values[-1]).sqrt()
        least = sizes[min(max(k, 1), len(sizes)) - 1].item()
        raise ValueError(
            f"expected 1 <= k <= {count} directions that leave the outside alone, got k={k}: for "
            f"more give null=k or a tolerance above {least:.2g}"
        )
    quiet: Tensor = vectors[:, :count]
    return quiet
