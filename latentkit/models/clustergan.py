"""ClusterGAN: a GAN with a discrete code in its latent and an encoder that recovers it.

Mukherjee et al., "ClusterGAN: Latent Space Clustering in Generative Adversarial Networks", AAAI
2019 (arXiv 1809.03627).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from latentkit.layers import ConvDecoder, ConvEncoder, Norm, init_normal
from latentkit.priors import GaussianOneHot
from latentkit.protocols import Part


class ClusterGAN(nn.Module):
    """Generator, discriminator and encoder over z = (z_n, z_c).

    Args:
        shape: (C, *S) of one image.
        continuous: d_n, the size of the Gaussian part z_n.
        classes: K, the number of clusters, the size of the one-hot part z_c.
        sigma: standard deviation of z_n; the paper's 0.1 keeps the clusters apart.
        width: channels of the finest stage of the three networks (64 in the paper).
        hidden: units of the fully connected layers (1024 in the paper).
        encoder_norm: normalisation of the encoder; none in the paper. Clustering real images (see
            `latentkit.training.clustergan`) wants batch norm.
    """

    def __init__(
        self,
        shape: Sequence[int],
        continuous: int = 30,
        classes: int = 10,
        sigma: float = 0.1,
        width: int = 64,
        hidden: int = 1024,
        encoder_norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.shape, self.continuous, self.classes = tuple(shape), continuous, classes
        self.sigma, self.width, self.hidden = sigma, width, hidden
        self.encoder_norm = encoder_norm
        dim = continuous + classes
        self.generator = ConvDecoder(dim, shape, width, hidden, norm="batch")
        self.discriminator = ConvEncoder(shape, 1, width, hidden)
        self.encoder = ConvEncoder(shape, dim, width, hidden, encoder_norm)
        init_normal(self.generator)

    @property
    def prior(self) -> GaussianOneHot:
        """Normal in the first d_n coordinates, one-hot in the last K."""
        return GaussianOneHot(self.continuous, self.classes, self.sigma)

    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, *S) -> z_n (N, d_n) and the logits of z_c (N, K)."""
        return self.prior.split(self.encoder(x))

    def encode(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) -> [z_n, softmax z_c] (N, D), the space the paper's K-means works in."""
        return self._latents(self.encoder(x))

    def cluster(self, x: Tensor) -> Tensor:
        """(N, C, *S) -> the encoder's own cluster, argmax z_c (N,)."""
        return self.code(x)[1].argmax(1)

    def features(self, x: Tensor) -> Tensor:
        """(N, C, *S) -> what the encoder tells the clusters apart by, (N, hidden)."""
        return self.encoder.features(x)

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, D) -> (N, C, *S) in [0, 1]."""
        image: Tensor = self.generator(z)
        return image.sigmoid()

    def discriminate(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) in [0, 1] -> realness logit (N,)."""
        logit: Tensor = self.discriminator(x)
        return logit.squeeze(1)

    def _latents(self, code: Tensor) -> Tensor:
        """[z_n, logits] (N, D) -> [z_n, softmax] (N, D)."""
        z_n, logits = self.prior.split(code)
        return torch.cat([z_n, logits.softmax(1)], dim=1)

    def explainable(self) -> Mapping[str, Part]:
        """The encoder (images to [z_n, logits of z_c]) and the discriminator (images to (N, 1)).

        The logits stand in for their softmax, which has no gradient left where it is sure.
        """
        return {
            "encoder": Part(self.encoder, self.encoder.layers, self._latents),
            "discriminator": Part(self.discriminator, self.discriminator.layers),
        }
