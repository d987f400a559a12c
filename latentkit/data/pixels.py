"""Pixels of image batches: range, size and channels. Plain tensors in, tensors out."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow turns colours into grey
_CHUNK = 1024  # images turned into floats at a time: a large set would fill the memory


def unit(images: Tensor) -> Tensor:
    """Uint8 images (N, C, H, W) -> floats in [0, 1]; float images are given back as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def resize(images: Tensor, size: int) -> Tensor:
    """Cut out the centre square and resize it, bilinearly and antialiased.

    Args:
        images: (N, C, H, W), uint8 or float in [0, 1].
        size: height and width of the result.

    Returns:
        (N, C, size, size), of the same type.
    """
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[..., top : top + side, left : left + side]
    if side == size:
        return square.contiguous()
    return _in_floats(
        square,
        lambda x: functional.interpolate(x, (size, size), mode="bilinear", antialias=True),
    )


def resize_digits(images: Tensor, size: int) -> Tensor:
    """Resize pictures of MNIST's format: 32 is reached by a black border of two pixels.

    The border is what models for 32x32 expect and keeps every pixel as it was; any other size but
    28 is resized like every image.

    Args:
        images: (N, 1, 28, 28) uint8.
        size: height and width of the result.

    Returns:
        (N, 1, size, size) uint8.
    """
    if size == 32 and images.shape[-2:] == (28, 28):
        return functional.pad(images, (2, 2, 2, 2))
    return resize(images, size)


def to_channels(images: Tensor, channels: int | None) -> Tensor:
    """Turn images into grey (1) or colour (3); transparent pixels are put on white.

    Args:
        images: (N, C, H, W) with C 1, 3 or 4 (red, green, blue, opacity), uint8 or float in [0, 1].
        channels: 1, 3, or None to keep C.

    Returns:
        (N, channels, H, W), of the same type.

    Raises:
        ValueError: the channels are not 1, 3 or 4, or to become others than 1 or 3.
    """
    if channels is None or images.shape[1] == channels:
        return images
    if channels not in {1, 3} or images.shape[1] not in {1, 3, 4}:
        raise ValueError(
            f"expected channels 1 or 3 from images of 1, 3 or 4, got channels={channels} from"
            f" {images.shape[1]}"
        )
    if images.shape[1] == 4:
        white = 255.0 if images.dtype == torch.uint8 else 1.0
        images = _in_floats(images, lambda x: _on_white(x, white))
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    luma = torch.tensor(_LUMA).view(1, 3, 1, 1)
    return _in_floats(images, lambda x: (x * luma).sum(1, keepdim=True))


def _on_white(images: Tensor, white: float) -> Tensor:
    opacity = images[:, 3:] / white
    return images[:, :3] * opacity + white * (1 - opacity)


def _in_floats(images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function of floats, and give the result the type of the images again."""
    chunks = [function(chunk.float()) for chunk in torch.split(images, _CHUNK)]
    if images.dtype == torch.uint8:
        chunks = [chunk.round().clamp(0, 255).to(torch.uint8) for chunk in chunks]
    else:
        chunks = [chunk.clamp(0, 1) for chunk in chunks]
    return torch.cat(chunks)
