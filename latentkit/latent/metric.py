"""The metric that a decoder pulls back from image space, without forming its Jacobian.

M(z) = J^T J with J the Jacobian of g: |v|_M is how far the image moves for a small step v. For a
stochastic decoder, g gives the mean and the standard deviation, and M is the sum over both:
Arvanitidis, Hansen and Hauberg, "Latent Space Oddity", ICLR 2018 (arXiv 1710.11379). Any other
features in place of pixels give their own metric: Wang and Ponce, ICLR 2021 (arXiv 2101.06006).
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from latentkit.latent.derivative import pullback, pushforward

Outputs: TypeAlias = Callable[[Tensor], Tensor | Sequence[Tensor]]
"""Latents (N, *Z) -> one tensor (N, ...), or several: the metric is then their sum."""
MOST_DIMENSIONS = 64
"""Largest D of a volume, which takes D products."""


def metric_product(decode: Outputs, z: Tensor, v: Tensor) -> Tensor:
    """M(z) v = J^T (J v): one forward-mode and one reverse-mode product.

    Args:
        decode: sample by sample, differentiable.
        z: (N, *Z).
        v: (N, *Z), one tangent for each latent.

    Returns:
        (N, *Z).

    Raises:
        ValueError: if z and v differ in shape, dtype or device, or are not finite.
    """
    _check(z, v)
    flat = _flat(decode)
    return pullback(flat, z, pushforward(flat, z, v))


def metric_norm(decode: Outputs, z: Tensor, v: Tensor) -> Tensor:
    """|v|_M = |J v|: how far all outputs move together, per unit of v.

    Args:
        decode: sample by sample, differentiable.
        z: (N, *Z).
        v: (N, *Z), one tangent for each latent.

    Returns:
        (N,), in the outputs' unit.

    Raises:
        ValueError: if z and v differ in shape, dtype or device, or are not finite.
    """
    _check(z, v)
    norm: Tensor = torch.linalg.vector_norm(pushforward(_flat(decode), z, v), dim=1)
    return norm


def log_volume(decode: Outputs, z: Tensor) -> Tensor:
    """Half the log determinant of M: how much g enlarges a small volume (magnification factor).

    Bishop, Svensen and Williams, "Magnification factors for the GTM algorithm", 1997. By the
    singular values of J, whose columns are D forward-mode products: M itself would square its
    condition.

    Args:
        decode: sample by sample, differentiable.
        z: (N, *Z) with D numbers each, D <= 64.

    Returns:
        (N,), nats, in the outputs' unit to the power of D per unit volume of z; -inf where some
        direction changes nothing.

    Raises:
        ValueError: if D > 64, or z is not finite.
    """
    _check(z, z)
    dim = z[:1].numel()
    if not 1 <= dim <= MOST_DIMENSIONS:
        raise ValueError(
            f"expected latents of 1 to {MOST_DIMENSIONS} numbers, got "
            f"{tuple(z.shape)}; a volume in many dimensions tells of those that change nothing"
        )
    flat = _flat(decode)
    units = torch.eye(dim, dtype=z.dtype, device=z.device).reshape(dim, *z.shape[1:])
    columns = [pushforward(flat, z, unit.expand_as(z)) for unit in units]
    jacobian = torch.stack(columns, dim=2)  # (N, outputs, D)
    if jacobian.shape[1] < dim:
        return jacobian.new_full((len(z),), -torch.inf)
    volume: Tensor = torch.linalg.svdvals(jacobian).log().sum(1)
    return volume


def _flat(decode: Outputs) -> Callable[[Tensor], Tensor]:
    """All outputs of a sample side by side: (N, *Z) -> (N, P)."""

    def flat(z: Tensor) -> Tensor:
        outputs = decode(z)
        parts = [outputs] if isinstance(outputs, Tensor) else [*outputs]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    return flat


def _check(z: Tensor, v: Tensor) -> None:
    if z.ndim < 2 or z.shape != v.shape or z.dtype != v.dtype or z.device != v.device:
        raise ValueError(
            "expected z and v (N, *Z) of one shape, dtype and device, got "
            f"{tuple(z.shape)} {z.dtype} {z.device} and {tuple(v.shape)} {v.dtype} {v.device}"
        )
    if not (z.is_floating_point() and z.isfinite().all() and v.isfinite().all()):
        raise ValueError("expected finite floating z and v, got others")
