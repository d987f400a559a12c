"""Variational autoencoder with Bernoulli or Gaussian pixels.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014 (arXiv 1312.6114). The Gaussian form
learns one scale for all pixels (Rybkin et al., "Simple and Effective VAE Training with Calibrated
Decoders", ICML 2021, arXiv 2006.13202), so that no weight has to be tuned by hand.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from latentkit.layers import ConvDecoder, ConvEncoder, Norm
from latentkit.losses.elbo import bernoulli_nll, gaussian_nll
from latentkit.priors import Gaussian
from latentkit.protocols import Part

Likelihood = Literal["bernoulli", "gaussian"]


class FirstHalf(nn.Module):
    """Keeps the first half of a vector: (N, 2 D) -> (N, D)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2 D) -> (N, D)."""
        return x.chunk(2, dim=1)[0]


class VAE(nn.Module):
    """Encodes images to normal posteriors, decodes latents of a standard normal prior.

    Args:
        shape: (C, *S) of one image.
        latent_dim: D.
        width: channels of the finest stage.
        hidden: units of the fully connected layers.
        norm: normalisation of the hidden layers.
        likelihood: of a pixel given the latent.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int = 16,
        width: int = 32,
        hidden: int = 256,
        norm: Norm = "none",
        likelihood: Likelihood = "bernoulli",
    ) -> None:
        super().__init__()
        if likelihood not in get_args(Likelihood):
            raise ValueError(f"expected likelihood bernoulli or gaussian, got {likelihood!r}")
        self.shape, self.latent_dim = tuple(shape), latent_dim
        self.width, self.hidden, self.norm, self.likelihood = width, hidden, norm, likelihood
        self.encoder = ConvEncoder(shape, 2 * latent_dim, width, hidden, norm)
        self.decoder = ConvDecoder(latent_dim, shape, width, hidden, norm)
        if likelihood == "gaussian":
            self.log_scale = nn.Parameter(torch.tensor(-1.0))

    @property
    def prior(self) -> Gaussian:
        """Standard normal in D dimensions."""
        return Gaussian(self.latent_dim)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, *S) -> mean (N, D) and log variance (N, D)."""
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        return mean, log_var

    def encode(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) -> posterior mean (N, D)."""
        return self.posterior(x)[0]

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, D) -> expected image (N, C, *S) in [0, 1]."""
        image: Tensor = self.decoder(z)
        return image.sigmoid()

    def nll(self, x: Tensor, z: Tensor) -> Tensor:
        """-log p(x | z) in nats summed over pixels: (N, C, *S), (N, D) -> (N,).

        Args:
            x: images in [0, 1].
            z: latents, one for each image.
        """
        logits = self.decoder(z)
        if self.likelihood == "bernoulli":
            return bernoulli_nll(logits, x)
        return gaussian_nll(logits.sigmoid(), x, self.log_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Images -> their reconstructions, (N, C, *S) -> (N, C, *S)."""
        return self.decode(self.encode(x))

    def explainable(self) -> Mapping[str, Part]:
        """The encoder: images to posterior means."""
        module = nn.Sequential(OrderedDict(encoder=self.encoder, mean=FirstHalf()))
        return {"encoder": Part(module, tuple(f"encoder.{name}" for name in self.encoder.layers))}
