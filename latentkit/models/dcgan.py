"""Deep convolutional GAN: a generator with batch norm and a discriminator without.

Radford et al., "Unsupervised Representation Learning with Deep Convolutional GANs", ICLR 2016
(arXiv 1511.06434). The paper's batch norm in the discriminator is left out by default, since
gradient penalties ask for samples that do not see each other.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from latentkit.layers import ConvDecoder, ConvEncoder, Norm, init_normal
from latentkit.priors import Gaussian
from latentkit.protocols import Part


class DCGAN(nn.Module):
    """Generates images from normal latents; its discriminator judges them.

    Args:
        shape: (C, *S) of one image.
        latent_dim: D.
        width: channels of the finest stage of both networks.
        hidden: units of the fully connected layers.
        norm: normalisation of the discriminator: "none", "spectral" or "batch".
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int = 64,
        width: int = 32,
        hidden: int = 256,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.shape, self.latent_dim = tuple(shape), latent_dim
        self.width, self.hidden, self.norm = width, hidden, norm
        self.generator = ConvDecoder(latent_dim, shape, width, hidden, norm="batch")
        self.discriminator = ConvEncoder(shape, 1, width, hidden, norm)
        init_normal(self.generator)

    @property
    def prior(self) -> Gaussian:
        """Standard normal in D dimensions."""
        return Gaussian(self.latent_dim)

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, D) -> (N, C, *S) in [0, 1]."""
        image: Tensor = self.generator(z)
        return image.sigmoid()

    def discriminate(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) in [0, 1] -> realness logit (N,)."""
        logit: Tensor = self.discriminator(x)
        return logit.squeeze(1)

    def explainable(self) -> Mapping[str, Part]:
        """The discriminator: images to a realness logit (N, 1)."""
        return {"discriminator": Part(self.discriminator, self.discriminator.layers)}
