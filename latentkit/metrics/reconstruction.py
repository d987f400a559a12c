"""How close are reconstructions to their originals, image by image?"""

import torch
from torch import Tensor


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference over channels and pixels.

    Args:
        x: (N, C, *S) images.
        y: (N, C, *S) images.

    Returns:
        (N,), in the square of the images' unit; half precision is computed in single.

    Raises:
        ValueError: if the shapes differ or lack a batch dimension.
    """
    if x.shape != y.shape or x.ndim < 2:
        raise ValueError(
            f"expected two batches (N, C, *S) of one shape, got {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    wide = torch.promote_types(x.dtype, torch.float32)
    return (x.to(wide) - y.to(wide)).square().flatten(1).mean(1)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of images in [0, 1].

    Args:
        x: (N, C, *S) images in [0, 1].
        y: (N, C, *S) images in [0, 1].

    Returns:
        (N,) in decibels; infinite where the images are identical.

    Raises:
        ValueError: if the shapes differ or lack a batch dimension.

    >>> psnr(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1)).round(decimals=2)
    tensor([20.])
    """
    return -10 * mse(x, y).log10()
