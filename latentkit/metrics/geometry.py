"""How far does a decoded path travel in image space?"""

import torch
from torch import Tensor


def step_lengths(images: Tensor) -> Tensor:
    """L2 distance between neighbours on each path.

    Args:
        images: (N, T, C, *S) decoded paths, T >= 2.

    Returns:
        (N, T - 1), in the images' unit; half precision is computed in single.

    Raises:
        ValueError: if there is no path dimension or it has fewer than two steps.
    """
    if images.ndim < 3 or images.shape[1] < 2:
        raise ValueError(
            f"expected paths (N, T, C, *S) of at least 2 steps, got {tuple(images.shape)}"
        )
    flat = images.flatten(2).to(torch.promote_types(images.dtype, torch.float32))
    lengths: Tensor = torch.linalg.vector_norm(flat[:, 1:] - flat[:, :-1], dim=2)
    return lengths


def path_length(images: Tensor) -> Tensor:
    """L2 length of each decoded path: the sum of its steps, never less than its chord.

    Args:
        images: (N, T, C, *S) decoded paths, T >= 2.

    Returns:
        (N,), in the images' unit.

    Raises:
        ValueError: if there is no path dimension or it has fewer than two steps.

    >>> path_length(torch.tensor([[[0.0], [3.0], [1.0]]]))
    tensor([5.])
    """
    return step_lengths(images).sum(1)
