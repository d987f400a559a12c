"""Edit images by their latents: steps along a direction."""

from collections.abc import Sequence

import torch
from torch import Tensor

from latentkit.latent.points import check_finite


def sweep(z: Tensor, direction: Tensor, strengths: Sequence[float]) -> Tensor:
    """Every latent moved along a direction by every strength, z + s d.

    Args:
        z: (N, *Z).
        direction: (*Z); of unit length, the strengths are distances.
        strengths: T of them, 0 for the latent itself.

    Returns:
        (N, T, *Z), in the dtype and on the device of `z`; differentiable.

    Raises:
        ValueError: if the shapes do not fit, there is no strength, or a number is not finite.

    >>> sweep(torch.zeros(1, 2), torch.tensor([0.0, 1.0]), [-1, 2])
    tensor([[[ 0., -1.],
             [ 0.,  2.]]])
    """
    if z.ndim < 2 or direction.shape != z.shape[1:]:
        raise ValueError(
            "expected latents (N, *Z) and a direction (*Z), got "
            f"{tuple(z.shape)} and {tuple(direction.shape)}"
        )
    steps = torch.as_tensor(strengths, dtype=z.dtype, device=z.device)
    if len(steps) == 0 or not steps.isfinite().all() or not direction.isfinite().all():
        raise ValueError(
            f"expected a strength or more, all finite, and a finite direction, got {strengths}"
        )
    check_finite(latents=z)
    moved = steps.view(-1, *[1] * direction.ndim) * direction.to(z)
    return z[:, None] + moved[None]
