"""Where latents meet a model: decode many, in batches, through plain callables."""

import torch
from torch import Tensor

from latentkit.protocols import Decode


def decode_path(decode: Decode, path: Tensor, batch_size: int | None = None) -> Tensor:
    """Decode every point of every path.

    Args:
        decode: latents (N, *Z) -> images (N, C, *S).
        path: (N, T, *Z).
        batch_size: latents per call of `decode`; None decodes all N * T at once.

    Returns:
        (N, T, C, *S); carries gradients if they are enabled.

    Raises:
        ValueError: if the path lacks the dimensions N and T, or as `decode_batches` does.

    >>> decode_path(lambda z: z[:, :, None], torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 3, 1])
    """
    if path.ndim < 2:
        raise ValueError(f"expected a path (N, T, *Z), got shape {tuple(path.shape)}")
    images = decode_batches(decode, path.flatten(0, 1), batch_size)
    return images.reshape(*path.shape[:2], *images.shape[1:])


def decode_batches(decode: Decode, z: Tensor, batch_size: int | None = 256) -> Tensor:
    """Decode latents a batch at a time.

    Args:
        decode: latents (N, *Z) -> images (N, C, *S).
        z: (N, *Z).
        batch_size: latents per call of `decode`; None decodes all at once.

    Returns:
        (N, C, *S); carries gradients if they are enabled.

    Raises:
        ValueError: if batch_size < 1, or `decode` returns another number of images than latents.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"expected batch_size >= 1 or None, got {batch_size}")
    if batch_size is None or len(z) <= batch_size:
        return _decode(decode, z)  # joining one batch would copy every image
    batches = torch.split(z, batch_size)
    return torch.cat([_decode(decode, batch) for batch in batches])


def pairs(rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
    """Every row with every column, row by row: what a grid of R rows and K columns decodes.

    Args:
        rows: (R, *Z).
        cols: (K, *Z).

    Returns:
        Two tensors (R * K, *Z).
    """
    repeated = cols.repeat(len(rows), *[1] * (cols.ndim - 1))
    return rows.repeat_interleave(len(cols), dim=0), repeated


def _decode(decode: Decode, z: Tensor) -> Tensor:
    images = decode(z)
    if len(images) != len(z):
        raise ValueError(
            f"expected decode to return one image for each of {len(z)} latents, got "
            f"{tuple(images.shape)} for {tuple(z.shape)}"
        )
    return images
