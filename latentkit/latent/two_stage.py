"""A second VAE that learns how the latents of a first model are spread.

Dai & Wipf, "Diagnosing and Enhancing VAE Models", ICLR 2019 (arXiv 1903.05789), section 4. Where
their second stage is three layers of 1,024 units trained for hundreds of epochs, this one is small
enough to train on a processor in half a minute. So small, it beats a single normal distribution but
not a Gaussian mixture: `benchmarks/samplers.py` measures both.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from latentkit.latent.points import flat_points, spread
from latentkit.losses.elbo import gaussian_nll, kl_to_standard_normal, reparameterise

# Log scale of the decoder at the start: from 0 it may never use u, from -1 it learns to copy first.
_START = -0.5


class TwoStage(nn.Module):
    """Decodes a standard normal u to a latent: z = decoder(u) + scale * noise, in D coordinates.

    An untrained one comes from the constructor, a trained one from `two_stage`.

    Args:
        dim: D, of u and of the flattened latents.
        hidden: units of each of the three hidden layers, of the encoder and of the decoder.
        generator: of the initial weights; None takes the global random state.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, dim: int, hidden: int = 256, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.dim, self.shape, self.dtype = dim, torch.Size([dim]), torch.float32
        self.encoder = _mlp([dim, hidden, hidden, hidden, 2 * dim], generator)
        self.decoder = _mlp([dim, hidden, hidden, hidden, dim], generator)
        self.log_scale = nn.Parameter(torch.tensor(_START))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    @torch.no_grad()
    def sample(self, n: int, /, *, generator: torch.Generator | None = None) -> Tensor:
        """N -> (n, *Z), in the latents' dtype, on the generator's device (CPU without one)."""
        device = torch.device("cpu") if generator is None else generator.device
        noise = torch.randn(2, n, self.dim, generator=generator, device=device).to(self.mean)
        standard = self.decoder(noise[0]) + self.log_scale.exp() * noise[1]
        z = standard * self.deviation + self.mean
        latents: Tensor = z.to(device, self.dtype).reshape(n, *self.shape)
        return latents

    def loss(self, x: Tensor, noise: Tensor) -> Tensor:
        """Negative evidence lower bound in nats (N,) of standardised latents (N, D)."""
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        u = reparameterise(mean, log_var, noise)
        nll = gaussian_nll(self.decoder(u), x, self.log_scale)
        return nll + kl_to_standard_normal(mean, log_var).sum(1)


def two_stage(
    z: Tensor,
    steps: int = 6000,
    batch: int = 128,
    lr: float = 2e-3,
    generator: torch.Generator | None = None,
) -> TwoStage:
    """Trains a second-stage VAE on standardised latents, by Adam with a cosine schedule.

    Args:
        z: (N, *Z) latents of training images.
        steps: of the optimizer.
        batch: latents of a step, drawn with replacement.
        lr: Adam's at the first step; few steps need a larger one.
        generator: of the weights, the batches and the noise, on the CPU; None takes the global
            random state.

    Returns:
        The trained model, a `Prior` of latents (n, *Z).

    Raises:
        ValueError: if z is not finite or has fewer than two latents, or steps, batch or lr are out
            of range.
    """
    points = flat_points(z)
    if steps < 1 or batch < 1 or not lr > 0:
        raise ValueError(
            f"expected steps >= 1, batch >= 1 and lr above 0, got {steps}, {batch} and {lr}"
        )
    model = TwoStage(points.shape[1], generator=generator)
    model.shape, model.dtype = z.shape[1:], z.dtype
    model.mean.copy_(points.mean(0))
    model.deviation.copy_(points.std(0))  # 0 where constant: such a coordinate stays so
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    standard = ((points - points.mean(0)) / spread(points)).float()
    _train(model, standard, optimizer, steps, batch, generator)
    return model.eval().requires_grad_(False)


def _train(
    model: TwoStage,
    x: Tensor,
    optimizer: torch.optim.Optimizer,
    steps: int,
    batch: int,
    generator: torch.Generator | None,
) -> None:
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():  # a caller may well have turned it off, to encode
        for _ in range(steps):
            rows = torch.randint(len(x), (batch,), generator=generator)
            noise = torch.randn(batch, model.dim, generator=generator)
            optimizer.zero_grad()
            torch.autograd.backward(model.loss(x[rows], noise).mean())
            optimizer.step()
            schedule.step()


def _mlp(sizes: list[int], generator: torch.Generator | None) -> nn.Sequential:
    """Fully connected layers with SiLU between them, initialised by the generator alone."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        # A plain Linear draws its weights from the global random state.
        linear = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.SiLU()]
    return nn.Sequential(*layers[:-1])
