"""Small random affine changes of images: the invariances that ClusterGAN's consistency assumes."""

import math

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor

ROTATION, SCALE, SHEAR, SHIFT = math.radians(15), 0.15, 0.2, 0.12  # largest, SHIFT of half a side


def random_affine(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotates, scales, shears and shifts each image a little, by its own random amounts.

    Args:
        x: (N, C, H, W).
        generator: source of the amounts, on the images' device.

    Returns:
        (N, C, H, W); zero (black) where the image does not reach.

    Raises:
        ValueError: for signals and volumes; use no consistency term there.
    """
    if x.ndim != 4:
        raise ValueError(f"expected images (N, C, H, W) to change, got {tuple(x.shape)}")
    u = 2 * torch.rand(5, len(x), generator=generator, device=x.device) - 1
    angle, scale = ROTATION * u[0], 1 + SCALE * u[1]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    top = torch.stack([cos, SHEAR * u[2] - sin, SHIFT * u[3]], 1)
    bottom = torch.stack([sin, cos, SHIFT * u[4]], 1)
    where = F.affine_grid(torch.stack([top, bottom], 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, where, align_corners=False)
