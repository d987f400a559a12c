"""Convolutional autoencoder: a deterministic code, without a prior.

Hinton & Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 2006.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from latentkit.layers import ConvDecoder, ConvEncoder, Norm
from latentkit.protocols import Part


class Autoencoder(nn.Module):
    """Squeezes images through `latent_dim` numbers and back.

    Args:
        shape: (C, *S) of one image.
        latent_dim: D.
        width: channels of the finest stage.
        hidden: units of the fully connected layers.
        norm: normalisation of the hidden layers.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int = 16,
        width: int = 32,
        hidden: int = 256,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.shape, self.latent_dim = tuple(shape), latent_dim
        self.width, self.hidden, self.norm = width, hidden, norm
        self.encoder = ConvEncoder(shape, latent_dim, width, hidden, norm)
        self.decoder = ConvDecoder(latent_dim, shape, width, hidden, norm)

    def encode(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) -> (N, D)."""
        latent: Tensor = self.encoder(x)
        return latent

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, D) -> (N, C, *S) in [0, 1]."""
        image: Tensor = self.decoder(z)
        return image.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Images -> their reconstructions, (N, C, *S) -> (N, C, *S)."""
        return self.decode(self.encode(x))

    def explainable(self) -> Mapping[str, Part]:
        """The encoder: images to latents."""
        return {"encoder": Part(self.encoder, self.encoder.layers)}
