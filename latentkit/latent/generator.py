"""Any generator network as a latent model: what a plain `nn.Module` lacks for the verbs."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from latentkit.priors import Gaussian
from latentkit.protocols import Prior


class Generator(nn.Module):
    """A decoder made of somebody's own network.

    Args:
        network: maps latents (N, *latent_shape) to images (N, C, *S).
        shape: (C, *S) of one image.
        latent_dim: D, for a standard normal prior in D dimensions.
        latent_shape: of one latent as the network takes it: (D, 1, 1) for many a convolutional
            generator; (D,) by default.
        output: the range of the network's pixels, (0, 1) or, behind a tanh, (-1, 1).
        prior: another prior over D numbers.

    Raises:
        ValueError: if `latent_shape` does not hold D numbers, or the range is empty.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        latent_dim: int,
        latent_shape: Sequence[int] | None = None,
        output: tuple[float, float] = (0.0, 1.0),
        prior: Prior | None = None,
    ) -> None:
        super().__init__()
        self.network, self.shape, self.latent_dim = network, tuple(shape), latent_dim
        self.latent_shape = (latent_dim,) if latent_shape is None else tuple(latent_shape)
        if math.prod(self.latent_shape) != latent_dim:
            raise ValueError(
                f"expected a latent_shape that holds {latent_dim} numbers, got {self.latent_shape}"
            )
        if output[1] <= output[0]:
            raise ValueError(f"expected output (lowest, highest) of the pixels, got {output}")
        self.low, self.high = map(float, output)  # numbers, which a fingerprint sees
        self._prior = Gaussian(latent_dim) if prior is None else prior

    @property
    def prior(self) -> Prior:
        """The latents' distribution."""
        return self._prior

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, D) -> (N, C, *S) in [0, 1]."""
        images: Tensor = self.network(z.reshape(len(z), *self.latent_shape))
        return (images - self.low) / (self.high - self.low)
