"""The Jacobian of a decoder in full, column by column: what the matrix-free ones are held to."""

import torch

from latentkit.latent.derivative import pushforward
from latentkit.latent.singular import strongest


@torch.no_grad()
def jacobian(decode, z, k):
    """Top right singular vectors (k, D) at z, (D,) or (1, D)."""
    point = z.detach().reshape(1, -1)
    basis = torch.eye(point.shape[1], dtype=z.dtype)
    columns = pushforward(decode, point.repeat(len(basis), 1), basis).flatten(1)
    return strongest(columns.T, k)
