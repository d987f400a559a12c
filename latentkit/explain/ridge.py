"""Which change does a network answer with d? The inverse that `pattern` and `natural` share."""

import torch
from torch import Tensor


def damped_solve(gram: Tensor, wanted: Tensor, ridge: float) -> Tensor:
    """Weights w with (G + ridge) w = d, one set for each image and direction.

    Args:
        gram: G, (N, D, D), symmetric, what steps along two latents have in common for the network.
        wanted: d, (K, D).
        ridge: relative to the mean of G's diagonal, above 0.

    Returns:
        (N, D, K); finite, however little the network reads.
    """
    # The root, so that the inverse of a network that reads nothing stays finite: 0 times it is 0.
    least = torch.finfo(gram.dtype).tiny ** 0.5
    scale = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(least)
    eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    damped = gram + ridge * scale[:, None, None] * eye
    weights: Tensor = torch.linalg.solve(damped, wanted.T.expand(len(gram), -1, -1))
    return weights
