"""How close are reconstructions to their originals, image by image?"""

import torch
from torch import Tensor

WINDOW = 11
"""Pixels along a side of the window that `ssim` compares; images need at least as many."""

_DEVIATION = 1.5  # of the Gaussian window, in pixels
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
    over the windows around every pixel (the border is reflected).

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
    batches = zip(torch.split(x, _TOGETHER), torch.split(y, _TOGETHER), strict=True)
    return torch.cat([_ssim(a, b) for a, b in batches]).to(wide)


def likeness(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """All that applies to images (N, C, *S) in [0, 1] and others: name -> (N,).

    "psnr" in decibels and, for images of rank 2 or 3 that are large enough, "ssim".
    """
    found = {"psnr": psnr(x, y)}
    if x.ndim in {4, 5} and min(x.shape[2:]) >= WINDOW:
        found["ssim"] = ssim(x, y)
    return found


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    # In double: variances are differences of means of squares, which cancel where an image is flat.
    x, y = x.double(), y.double()
    a, b, aa, bb, ab = _blurred(torch.stack([x, y, x * x, y * y, x * y]))
    spread = (aa - a * a).clamp(min=0) + (bb - b * b).clamp(min=0)
    top = (2 * a * b + 0.01**2) * (2 * (ab - a * b) + 0.03**2)
    bottom = (a * a + b * b + 0.01**2) * (spread + 0.03**2)
    found: Tensor = (top / bottom).flatten(1).mean(1)
    return found


def _blurred(x: Tensor) -> Tensor:
    """Means (M, N, C, *S) of the window about each pixel, axis by axis: it is a product."""
    for axis in range(3, x.ndim):
        x = (x.movedim(axis, -1) @ _weights(x.shape[axis]).to(x).T).movedim(-1, axis)
    return x


def _weights(size: int) -> Tensor:
    """Row i weighs the pixels of a line in the window about pixel i: (size, size), sums of 1."""
    near = torch.arange(WINDOW) - WINDOW // 2
    weight = torch.exp(-(near.double() ** 2) / (2 * _DEVIATION**2))
    place = (torch.arange(size)[:, None] + near).abs()  # reflected at the start
    place = size - 1 - (size - 1 - place).abs()  # and at the end
    empty = torch.zeros(size, size, dtype=torch.float64)
    return empty.scatter_add_(1, place, (weight / weight.sum()).expand(size, -1))
