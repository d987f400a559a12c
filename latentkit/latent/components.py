"""Principal components of activations, and of more latents than fit in memory.

Harkonen et al., "GANSpace: Discovering Interpretable GAN Controls", NeurIPS 2020
(arXiv 2004.02546).
"""

import torch
from torch import Tensor

from latentkit.latent.points import check_points
from latentkit.latent.singular import check_k, strongest, with_signs


def activation_pca(z: Tensor, activations: Tensor, k: int) -> Tensor:
    """Latent directions that move a layer's activations along their principal components.

    GANSpace, section 3.2: PCA finds the components of the activations, and least squares the
    latent directions that go with the coordinates x on them, z - mean(z) ~ x U. For a linear layer
    W, each W u is along its component.

    Args:
        z: (N, D) latents.
        activations: (N, ...) of a layer for these latents, flattened here.
        k: number of directions, at most min(N - 1, D, size of an activation).

    Returns:
        (k, D) unit rows, the strongest component first, each pointing to larger coordinates on it;
        not orthogonal in general.

    Raises:
        ValueError: if the sizes do not fit, a value is not finite, k is out of range, or the
            latents do not vary with a component.
    """
    check_points(z)
    flat = activations.flatten(1) if activations.ndim > 1 else activations
    check_points(flat, "activations")
    if len(flat) != len(z):
        raise ValueError(f"expected an activation a latent, got {len(flat)} for {len(z)} latents")
    most = min(len(z) - 1, z.shape[1], flat.shape[1])
    check_k(k, most, f"{len(z)} latents of {z.shape[1]} and activations of {flat.shape[1]} numbers")
    centred = flat - flat.mean(0)
    scores = (centred @ strongest(centred, k).T).to(torch.promote_types(z.dtype, torch.float32))
    # The columns of the scores are orthogonal, so least squares is one division each.
    sizes = scores.square().sum(0)
    found: Tensor = (scores.T @ (z - z.mean(0)).to(scores.dtype)) / sizes[:, None]
    lengths: Tensor = torch.linalg.vector_norm(found, dim=1)
    floor = torch.finfo(scores.dtype).eps ** 2 * centred.square().sum()
    if (sizes <= floor).any() or (lengths == 0).any():
        raise ValueError(f"expected activations that vary with the latents in {k} components")
    return (found / lengths[:, None]).to(z.dtype)


class StreamingPCA:
    """PCA of latents that come in batches of any sizes, as exact as `directions.pca` of all.

    Keeps the mean and the scatter matrix in double precision, D x D numbers, and merges batches by
    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979.

    Attributes:
        count: latents seen.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = self._scatter = torch.empty(0)

    def update(self, z: Tensor) -> None:
        """Takes in a batch.

        Args:
            z: (N, D) latents, N >= 1.

        Raises:
            ValueError: if z is not (N, D) and finite, or of another D than before.
        """
        check_points(z)
        if self.count and z.shape[1] != len(self._mean):
            raise ValueError(f"expected latents of {len(self._mean)} numbers, got {z.shape[1]}")
        wide = z.detach().double()
        mean = wide.mean(0)
        scatter = (wide - mean).T @ (wide - mean)
        if self.count == 0:
            self.count, self._mean, self._scatter = len(z), mean, scatter
            return
        total, gap = self.count + len(z), mean - self._mean
        self._scatter = self._scatter + scatter
        self._scatter += torch.outer(gap, gap) * (self.count * len(z) / total)
        self._mean = self._mean + gap * (len(z) / total)
        self.count = total

    def directions(self, k: int) -> Tensor:
        """The directions in which all latents so far vary most: (k, D) orthonormal, float32.

        Raises:
            ValueError: if k is larger than min(N - 1, D).
        """
        check_k(k, min(self.count - 1, len(self._mean)), f"{self.count} latents")
        vectors = torch.linalg.eigh(self._scatter).eigenvectors.flip(1)[:, :k].T
        return with_signs(vectors).float()

    def explained(self, k: int) -> Tensor:
        """Share of the variance along each of `directions(k)`: (k,) float32, descending.

        Raises:
            ValueError: if k is larger than min(N - 1, D), or the latents do not vary.
        """
        check_k(k, min(self.count - 1, len(self._mean)), f"{self.count} latents")
        values = torch.linalg.eigvalsh(self._scatter).flip(0).clamp_min(0)
        if values.sum() == 0:
            raise ValueError(f"expected latents that vary, got {self.count} equal ones")
        shares: Tensor = values[:k] / values.sum()
        return shares.float()
