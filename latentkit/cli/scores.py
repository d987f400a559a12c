"""What `latentkit evaluate` measures."""

from typing import Any

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from latentkit.cli.clusters import agreement
from latentkit.cli.sources import BATCH, Source
from latentkit.data.base import Split
from latentkit.latent.cluster import kmeans
from latentkit.losses.elbo import kl_to_standard_normal, reparameterise
from latentkit.metrics.reconstruction import mse, psnr
from latentkit.models.vae import VAE

_FOR_PCA = 10_000  # training images that the baseline is fitted on


def measure(source: Source, split: Split, limit: int | None, seed: int) -> dict[str, Any]:
    """Every number that applies to the model; each says in its name what it is."""
    images, labels = source.images(split, limit)
    numbers: dict[str, Any] = {"images": len(images)}
    if hasattr(source.model, "encode"):
        latents = source.encode(images).flatten(1)
        if hasattr(source.model, "decode"):
            numbers |= _reconstruction(source, images, latents.shape[1])
        numbers |= _clustering(source, images, latents, labels, seed)
    if isinstance(source.model, VAE):
        numbers |= _bound(source, source.model, images, seed)
    if hasattr(source.model, "discriminate") and hasattr(source.model, "prior"):
        numbers |= _realness(source, images, seed)
    if len(numbers) == 1:
        raise ValueError(f"{source.name} has neither encode nor discriminate: nothing to measure")
    return numbers


def _reconstruction(source: Source, images: Tensor, dim: int) -> dict[str, float]:
    decoded = source.decode(source.encode(images))
    numbers = {"mse": mse(decoded, images).mean().item()}
    numbers["psnr_db"] = psnr(decoded, images).mean().item()
    train = source.images("train", _FOR_PCA)[0].flatten(1).numpy()
    if dim <= min(train.shape):
        pca = PCA(dim, random_state=0).fit(train)
        flat = images.flatten(1).numpy()
        rebuilt = pca.inverse_transform(pca.transform(flat))
        numbers["mse_of_pca_of_equal_size"] = float(((rebuilt - flat) ** 2).mean())
    return numbers


def _clustering(
    source: Source, images: Tensor, latents: Tensor, labels: Tensor, seed: int
) -> dict[str, Any]:
    if not (labels >= 0).any():
        return {}
    count = len(source.data.class_names) or int(labels.max()) + 1
    if count > len(latents):
        return {}
    numbers = _named("kmeans", agreement(labels, kmeans(latents, count, seed).labels))
    if hasattr(source.model, "cluster"):
        with torch.no_grad():
            batches = [
                source.model.cluster(x.to(source.device)) for x in torch.split(images, BATCH)
            ]
        own = torch.cat(batches).cpu()
        numbers |= _named("encoder", agreement(labels, own))
        numbers["encoder_clusters_used"] = int(own.bincount().count_nonzero())
    return numbers


def _named(method: str, numbers: dict[str, float]) -> dict[str, float]:
    return {f"{method}_{k}": v for k, v in numbers.items()}


@torch.no_grad()
def _bound(source: Source, model: VAE, images: Tensor, seed: int) -> dict[str, float]:
    """The plain evidence lower bound, one posterior sample an image."""
    generator = torch.Generator(source.device).manual_seed(seed)
    nll, kl, means = [], [], []
    for batch in torch.split(images, BATCH):
        x = batch.to(source.device)
        mean, log_var = model.posterior(x)
        noise = torch.randn(mean.shape, generator=generator, device=source.device)
        nll.append(model.nll(x, reparameterise(mean, log_var, noise)))
        kl.append(kl_to_standard_normal(mean, log_var))
        means.append(mean)
    total, spread = torch.cat(kl).sum(1).mean(), torch.cat(means).var(0)
    bound = torch.cat(nll).mean() + total
    active = int((spread > 0.01).sum())
    return {"negative_elbo_nats": bound.item(), "kl_nats": total.item(), "active_units": active}


@torch.no_grad()
def _realness(source: Source, images: Tensor, seed: int) -> dict[str, float]:
    fake = source.decode(source.prior_sample(min(len(images), 1000), seed))
    judge = source.model.discriminate
    return {
        "logit_real": judge(images[: len(fake)].to(source.device)).mean().item(),
        "logit_fake": judge(fake.to(source.device)).mean().item(),
    }
