"""Training loops without Lightning, of the same arithmetic as the objectives they stand beside."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from latentkit.losses.clustering import mutual_information
from latentkit.losses.elbo import bernoulli_nll, kl_to_standard_normal
from latentkit.priors import Gaussian
from latentkit.training.affine import random_affine


class MLPVAE(nn.Module):
    """pythae's default networks: one hidden layer of 512 on each side.

    Args:
        latent_dim: D.
        bernoulli: pixels are Bernoulli, pythae's "bce"; else normal of scale 1, its "mse".
    """

    def __init__(self, latent_dim: int = 16, bernoulli: bool = False) -> None:
        super().__init__()
        self.latent_dim, self.bernoulli = latent_dim, bernoulli
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU())
        self.mean, self.log_var = nn.Linear(512, latent_dim), nn.Linear(512, latent_dim)
        self.decoder = nn.Sequential(nn.Linear(latent_dim, 512), nn.ReLU(), nn.Linear(512, 784))

    @property
    def prior(self) -> Gaussian:
        """Standard normal."""
        return Gaussian(self.latent_dim)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, 28, 28) -> mean and log-variance, each (N, D)."""
        hidden = self.encoder(x)
        return self.mean(hidden), self.log_var(hidden)

    def nll(self, x: Tensor, z: Tensor) -> Tensor:
        """(N,) nats, but for the normal's constant."""
        logits = self.decoder(z)
        if self.bernoulli:
            return bernoulli_nll(logits, x.flatten(1))
        return 0.5 * (logits.sigmoid() - x.flatten(1)).square().sum(1)

    def encode(self, x: Tensor, /) -> Tensor:
        """(N, 1, 28, 28) -> (N, D)."""
        return self.posterior(x)[0]

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, D) -> (N, 1, 28, 28)."""
        return self.decoder(z).sigmoid().unflatten(1, (1, 28, 28))


def timed(
    step: Callable[[Tensor, int], None],
    data: Any,
    steps: int,
    skipped: int,
) -> float:
    """Seconds a step over shuffled batches of uint8 images held in memory."""
    pixels = (data.split("train")[:][0] * 255).round().byte()
    order = torch.randperm(len(pixels)).split(data.batch_size)
    for i, rows in enumerate(order[:steps]):
        if i == skipped:
            start = time.perf_counter()
        step(pixels[rows].float() / 255, i)
    return (time.perf_counter() - start) / (steps - skipped)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of an optimizer."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def autoencoder(training: Any, data: Any, steps: int, skipped: int) -> float:
    """Squared error."""
    model, optimizer = training.model, training.configure_optimizers()

    def step(x: Tensor, i: int) -> None:
        descend(optimizer, F.mse_loss(model.decode(model.encode(x)), x))

    return timed(step, data, steps, skipped)


def vae(training: Any, data: Any, steps: int, skipped: int) -> float:
    """The evidence lower bound."""
    model, optimizer = training.model, training.configure_optimizers()

    def step(x: Tensor, i: int) -> None:
        mean, log_var = model.posterior(x)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        kl = kl_to_standard_normal(mean, log_var).sum(1).mean()
        descend(optimizer, model.nll(x, z).mean() + kl)

    return timed(step, data, steps, skipped)


def _discriminator_step(training: Any, optimizer: Any, x: Tensor, fake: Tensor, i: int) -> None:
    model = training.model
    loss = F.softplus(-model.discriminate(x)).mean()
    loss = loss + F.softplus(model.discriminate(fake.detach())).mean()
    if i % 4 == 0:
        real = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model.discriminate(real).sum(), real, create_graph=True)
        loss = loss + 4 * 0.5 * slope.square().flatten(1).sum(1).mean()
    descend(optimizer, loss)


def _generator_step(training: Any, optimizer: Any, fake: Tensor, i: int, *others: Tensor) -> None:
    """On the adversarial loss and the others, with the discriminator held still."""
    model = training.model
    model.discriminator.requires_grad_(False)
    descend(optimizer, sum(others, F.softplus(-model.discriminate(fake)).mean()))
    model.discriminator.requires_grad_(True)
    training.ema.update(model.generator, i)


def dcgan(training: Any, data: Any, steps: int, skipped: int) -> float:
    """Non-saturating, R1 every fourth step, averaged generator."""
    model, (d, g) = training.model, training.configure_optimizers()

    def step(x: Tensor, i: int) -> None:
        fake = model.decode(model.prior.sample(len(x)))
        _discriminator_step(training, d, x, fake, i)
        _generator_step(training, g, fake, i)

    return timed(step, data, steps, skipped)


def clustergan(training: Any, data: Any, steps: int, skipped: int) -> float:
    """The warm-up: the plain game, and many heads of the encoder on two views."""
    model, (d, g) = training.model, training.configure_optimizers()
    noise = torch.Generator().manual_seed(0)

    def step(x: Tensor, i: int) -> None:
        fake = model.decode(model.prior.sample(len(x)))
        _discriminator_step(training, d, x, fake, i)
        views = model.encoder.features(torch.cat([x, random_affine(x, noise)]))
        shared = training.heads.shared_information(*views.chunk(2))
        _generator_step(training, g, fake, i, -shared)

    return timed(step, data, steps, skipped)


def cycles(training: Any, data: Any, steps: int, skipped: int) -> float:
    """ClusterGAN after its warm-up: the game, the cycles of both codes, and consistency."""
    model, (d, g) = training.model, training.configure_optimizers()
    noise = torch.Generator().manual_seed(0)

    def step(x: Tensor, i: int) -> None:
        z, n = model.prior.sample(len(x)), len(x)
        fake, (z_n, z_c) = model.decode(z), model.prior.split(z)
        _discriminator_step(training, d, x, fake, i)
        found, logits = model.code(torch.cat([fake, x, random_affine(x, noise)]))
        loss = training.beta_n * F.mse_loss(found[:n], z_n)
        loss = loss + training.beta_c * F.cross_entropy(logits[:n], z_c.argmax(1))
        shared = mutual_information(*logits[n:].softmax(1).chunk(2))
        _generator_step(training, g, fake, i, loss, -training.consistency * shared)

    return timed(step, data, steps, skipped)


LOOPS = {
    "autoencoder": autoencoder,
    "vae": vae,
    "dcgan": dcgan,
    "clustergan": clustergan,
    "cycles": cycles,
}
