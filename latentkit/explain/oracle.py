"""A generator whose truth is known: scenes drawn from their factors, turned by a fixed rotation.

No model error stands between a heatmap and what it should show, so this is where explanations of
directions are tested first (`dirbench`). Only the encoder is learned (`learned_encoder`).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from latentkit.data.batches import keyed_generator
from latentkit.data.shapes_render import FACTORS, render
from latentkit.explain.borrow import seeded
from latentkit.layers import ConvEncoder
from latentkit.protocols import Part

_MOVING = len(FACTORS) - 1  # all factors but the shape, which cannot change little by little
# Half the range that a factor takes: where it is a period, its ends must not look alike.
_HALF = tuple(0.35 if name in {"rotation", "phase"} else 0.5 for name in FACTORS)


class OraclePrior:
    """Factors independent and uniform on [-1, 1], in the rotated coordinates of the oracle.

    Args:
        rotation: (9, 9) orthogonal.
    """

    def __init__(self, rotation: Tensor) -> None:
        self.rotation, self.dim = rotation.cpu(), len(FACTORS)

    def sample(self, n: int, /, *, generator: torch.Generator | None = None) -> Tensor:
        """N -> latents (n, 10)."""
        uniform = 2 * torch.rand(n, self.dim, generator=generator) - 1
        return torch.cat([uniform[:, :1], uniform[:, 1:] @ self.rotation.T], 1)


class Oracle(nn.Module):
    """Decodes latents by drawing scenes; encodes them with a network that is to be trained.

    Latent 0 is the shape of object 1; the other nine are the other factors, scaled to [-1, 1] and
    rotated, so that no coordinate is a factor.

    Args:
        size: height and width of the scenes.
        width: channels of the encoder's first stage.
        seed: of the rotation and of the encoder's first weights.
    """

    rotation: Tensor

    def __init__(self, size: int = 64, width: int = 16, seed: int = 0) -> None:
        super().__init__()
        self.size, self.width, self.seed = size, width, seed
        self.shape, self.latent_dim = (3, size, size), len(FACTORS)
        noise = torch.randn(_MOVING, _MOVING, generator=keyed_generator(seed, 0))
        self.register_buffer("rotation", torch.linalg.qr(noise)[0])
        with seeded(seed):
            self.encoder = ConvEncoder(self.shape, self.latent_dim, width, hidden=128)

    @property
    def prior(self) -> OraclePrior:
        """Uniform over the factors."""
        return OraclePrior(self.rotation)

    @property
    def directions(self) -> Mapping[str, Tensor]:
        """The direction (10,) along which each factor moves and nothing else."""
        zero = self.rotation.new_zeros(1)
        columns = zip(FACTORS[1:], self.rotation.T, strict=True)
        return {name: torch.cat([zero, column]) for name, column in columns}

    def factors(self, z: Tensor) -> Tensor:
        """Latents (N, 10) -> factors (N, 10), in the order of `FACTORS`."""
        moving = torch.cat([z[:, :1], z[:, 1:] @ self.rotation.to(z)], 1)
        return 0.5 + moving * torch.tensor(_HALF).to(z)

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, 10) -> (N, 3, size, size)."""
        return render(self.factors(z), self.size).image

    def encode(self, x: Tensor, /) -> Tensor:
        """(N, 3, size, size) -> (N, 10)."""
        latent: Tensor = self.encoder(x)
        return latent

    def explainable(self) -> Mapping[str, Part]:
        """The encoder."""
        return {"encoder": Part(self.encoder, self.encoder.layers)}
