"""What every operation on a set of latents expects of it."""

import torch
from torch import Tensor

from latentkit.protocols import Prior


def check_points(z: Tensor, name: str = "z") -> None:
    """Raise ValueError unless `z` is (N, D) with N, D >= 1, floating and finite."""
    if z.ndim != 2 or z.numel() == 0:
        raise ValueError(
            f"expected {name} of shape (N, D), at least one latent, got {tuple(z.shape)}; "
            "flatten latents of other shapes with z.flatten(1)"
        )
    if not z.is_floating_point():
        raise ValueError(f"expected {name} of a floating dtype, got {z.dtype}")
    if not z.isfinite().all():
        bad = int((~z.isfinite()).any(1).sum())
        raise ValueError(f"expected finite {name}, got NaN or infinity in {bad} of {len(z)} rows")


def one_point(z: Tensor) -> Tensor:
    """(D,) or (1, D), one finite latent -> (1, D) without its graph; ValueError for any other."""
    if z.ndim == 0 or z.ndim > 2 or z.numel() != z.shape[-1]:
        raise ValueError(f"expected one latent, (D,) or (1, D), got shape {tuple(z.shape)}")
    point = z.detach().reshape(1, -1)
    check_points(point)
    return point


def check_size(z: Tensor, prior: Prior) -> None:
    """Raise ValueError unless each of the latents (N, *Z) has as many numbers as the prior's."""
    dim = getattr(prior, "dim", None)
    if dim is not None and z.shape[1:].numel() != dim:
        raise ValueError(
            f"expected latents (N, *Z) of the prior's {dim} numbers, got {tuple(z.shape)}"
        )


def check_finite(**given: Tensor) -> None:
    """Raise ValueError, with the name, for a tensor that holds NaN or infinity."""
    for name, x in given.items():
        if not x.isfinite().all():
            raise ValueError(f"expected finite {name}, got NaN or infinity")


def check_labels(labels: Tensor, n: int) -> None:
    """Raise ValueError unless `labels` is (n,) and of an integer dtype."""
    if labels.shape != (n,) or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"expected integer labels of shape ({n},), one for each latent, got "
            f"{labels.dtype} of shape {tuple(labels.shape)}"
        )


def flat_points(z: Tensor) -> Tensor:
    """(N, *Z) latents, N >= 2 -> (N, D) in float64 on the CPU; ValueError for any other."""
    if not isinstance(z, Tensor) or z.ndim < 2 or len(z) < 2:
        got = f"shape {tuple(z.shape)}" if isinstance(z, Tensor) else f"a {type(z).__name__}"
        raise ValueError(f"expected a tensor of latents (N, *Z), two or more, got {got}")
    check_points(z.flatten(1))
    return z.detach().flatten(1).to("cpu", torch.float64)


def row_keys(z: Tensor) -> list[bytes]:
    """One for each latent (N, *Z): equal for equal ones, whatever dtype and sign of zeros."""
    values = z.detach().flatten(1).to("cpu", torch.float64) + 0.0
    return [row.tobytes() for row in values.numpy()]


def spread(points: Tensor) -> Tensor:
    """Standard deviations (D,) of (N, D); 1 where a coordinate is constant, to divide by."""
    deviation = points.std(0)
    return torch.where(deviation > 0, deviation, 1)
