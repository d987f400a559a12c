"""How `latentkit evaluate` bounds the likelihood of a VAE."""

from typing import Any

import torch
from torch import Tensor

from latentkit.cli.named.sources import BATCH, Source
from latentkit.cli.progress import watched
from latentkit.data.images import random_rows
from latentkit.losses.elbo import kl_to_standard_normal, reparameterise
from latentkit.metrics.bootstrap import averaged
from latentkit.metrics.likelihood import ACTIVE, active_units, importance_bound, log_normal
from latentkit.models.vae import VAE

_FOR_BOUND = 1000  # images of the importance-weighted bound: each is decoded K times
_ROWS = 1024  # latents decoded at a time


@torch.no_grad()
def bounds(
    source: Source, model: VAE, images: Tensor, samples: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Numbers and settings: the evidence lower bound, its KL, and the tighter bound of K samples.

    The plain bound is of all images (N, C, *S); beside the tighter one stands that of its own
    images. All are in nats.
    """
    generator = torch.Generator(source.device).manual_seed(seed)
    nll, kl, means = [], [], []
    for batch in torch.split(images, BATCH):
        x = batch.to(source.device)
        mean, log_var = model.posterior(x)
        noise = torch.randn(mean.shape, generator=generator, device=source.device)
        nll.append(model.nll(x, reparameterise(mean, log_var, noise)))
        kl.append(kl_to_standard_normal(mean, log_var))
        means.append(mean)
    each = torch.cat(kl)
    negative = torch.cat(nll) + each.sum(1)
    numbers = averaged("negative_elbo_nats", negative, seed)
    numbers |= averaged("kl_nats", each.sum(1), seed)
    numbers["kl_nats_per_dimension"] = each.mean(0).tolist()
    if len(images) > 1:
        numbers["active_units"] = active_units(torch.cat(means))
    rows = random_rows(len(images), _FOR_BOUND, seed)
    found = _importance(source, model, images[rows], samples, generator)
    plain = negative[rows.to(negative.device)]
    numbers |= averaged("negative_elbo_nats_of_iwae_images", plain, seed)
    numbers |= averaged("iwae_log_likelihood_nats", found, seed)
    settings: dict[str, Any] = {"elbo_samples": 1, "elbo_images": len(images)}
    settings |= {"iwae_samples": samples, "iwae_images": len(found)}
    return numbers, settings | {"active_unit_variance_above": ACTIVE}


def _importance(
    source: Source, model: VAE, images: Tensor, samples: int, generator: torch.Generator
) -> Tensor:
    """Log p(x) is at least this: (N,) nats."""
    batches = torch.split(images, 64)
    found = []
    for batch in watched(batches, "IWAE bound", few=len(batches) < 4):
        draw = _Weights(model, batch.to(source.device), generator)
        found.append(importance_bound(draw, samples, max(1, _ROWS // len(batch))).cpu())
    return torch.cat(found)


class _Weights:
    """k -> log p(x, z) - log q(z | x) of k posterior samples for each of N images: (k, N)."""

    def __init__(self, model: VAE, x: Tensor, generator: torch.Generator) -> None:
        self.model, self.x, self.generator = model, x, generator
        self.mean, self.log_var = model.posterior(x)

    def __call__(self, count: int) -> Tensor:
        shape = (count, *self.mean.shape)
        noise = torch.randn(shape, generator=self.generator, device=self.mean.device)
        z = reparameterise(self.mean, self.log_var, noise)
        many = self.x.expand(count, *self.x.shape).flatten(0, 1)
        log_x = -self.model.nll(many, z.flatten(0, 1)).view(shape[:2])
        return log_x + self.model.prior.log_prob(z) - log_normal(z, self.mean, self.log_var)
