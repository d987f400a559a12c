"""How close are reconstructions to their originals, image by image?"""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

WINDOW = 11
"""Pixels along a side of the window that `ssim` compares; images need at least as many."""

_TOGETHER = 64  # images compared at a time


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


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of images in [0, 1]: 1 for equal ones, about 0 for unrelated noise.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE
    TIP 2004, with its Gaussian window of 11 pixels and deviation 1.5, averaged over channels and
    over the windows around every pixel (the border is reflected, as torchmetrics does).

    Args:
        x: (N, C, *S) images in [0, 1] of rank 2 or 3, at least 11 pixels along each side.
        y: (N, C, *S) images in [0, 1].

    Returns:
        (N,), in [-1, 1], at least in single precision; computed in double.

    Raises:
        ValueError: if the shapes differ, or the images are too small or of rank 1.
    """
    if x.shape != y.shape or x.ndim not in {4, 5} or min(x.shape[2:]) < WINDOW:
        raise ValueError(
            f"expected two batches (N, C, *S) of one shape, of 2 or 3 sizes of {WINDOW} or more, "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    wide = torch.promote_types(x.dtype, torch.float32)
    # A window's convolution takes hundreds of times the memory of its images.
    batches = zip(torch.split(x, _TOGETHER), torch.split(y, _TOGETHER), strict=True)
    return torch.cat([_ssim(a, b) for a, b in batches]).to(wide)


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    # In double: variances are differences of means of squares, which cancel where an image is flat.
    found = structural_similarity_index_measure(
        x.double(), y.double(), data_range=1.0, reduction="none"
    )
    return torch.as_tensor(found).reshape(len(x))
