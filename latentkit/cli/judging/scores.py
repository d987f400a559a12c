"""What `latentkit evaluate` measures."""

from typing import Any

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from latentkit.cli.grouping.clusters import agreement
from latentkit.cli.judging.bounds import bounds
from latentkit.cli.judging.factors import disentanglement
from latentkit.cli.judging.generated import against_real
from latentkit.cli.named.sources import Source
from latentkit.data.images import random_rows
from latentkit.data.shapes import Shapes
from latentkit.latent.cluster import kmeans
from latentkit.metrics.bootstrap import averaged
from latentkit.metrics.clustering import corrected
from latentkit.metrics.reconstruction import WINDOW, mse, psnr, ssim
from latentkit.models.vae import VAE
from latentkit.training.features import Space

RESAMPLES = 1000  # of the bootstrap
_RESTARTS = 10  # of K-means
_FOR_PCA = 10_000  # training images that the baseline is fitted on
_FOR_LOGITS = 1000  # images, and as many generated ones


def measure(
    source: Source,
    images: Tensor,
    labels: Tensor,
    space: Space | None,
    samples: tuple[int | None, int],
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every number that applies to the model, and the settings that they depend on.

    Args:
        source: the model.
        images: (N, C, *S), held out.
        labels: (N,), -1 where there is none.
        space: features to compare generated images in; None for no comparison.
        samples: number of generated images, and of posterior samples of the tighter bound.
        seed: of everything random.

    Raises:
        ValueError: the model offers nothing that can be measured.
    """
    model, parts = source.model, []
    if hasattr(model, "encode"):
        parts.append(_of_encoder(source, images, labels, seed))
    if isinstance(model, VAE):
        parts.append(bounds(source, model, images, samples[1], seed))
    if hasattr(model, "encode") and isinstance(source.data, Shapes):
        parts.append(disentanglement(source, source.data, seed))
    if space is not None and source.generates:
        parts.append(against_real(source, space, images, samples[0], seed))
    if hasattr(model, "discriminate") and hasattr(model, "prior"):
        parts.append(_realness(source, images, seed))
    if not parts:
        raise ValueError(f"{source.name} has neither encode nor discriminate: nothing to measure")
    numbers: dict[str, Any] = {"images": len(images)}
    settings: dict[str, Any] = {}
    for found, how in parts:
        numbers, settings = numbers | found, settings | how
    return numbers, settings


def _of_encoder(
    source: Source, images: Tensor, labels: Tensor, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    latents = source.encode(images).flatten(1)
    numbers, settings = _clustering(source, images, latents, labels, seed)
    if hasattr(source.model, "decode"):
        found, how = _reconstruction(source, images, latents.shape[1], seed)
        numbers, settings = found | numbers, how | settings
    return numbers, settings


def _reconstruction(
    source: Source, images: Tensor, dim: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    decoded = source.decode(source.encode(images))
    numbers = averaged("mse", mse(decoded, images), seed)
    numbers |= averaged("psnr_db", psnr(decoded, images), seed)
    if images.ndim in {4, 5} and min(images.shape[2:]) >= WINDOW:
        numbers |= averaged("ssim", ssim(decoded, images), seed)
    train = source.sample("train", _FOR_PCA, seed)[0].flatten(1).numpy()
    if dim > min(train.shape):
        return numbers, {}
    pca = PCA(dim, random_state=0).fit(train)
    flat = images.flatten(1).numpy()
    rebuilt = torch.from_numpy(pca.inverse_transform(pca.transform(flat)))
    numbers |= averaged("mse_of_pca_of_equal_size", mse(rebuilt, images.flatten(1)), seed)
    return numbers, {"pca_images": len(train)}


def _clustering(
    source: Source, images: Tensor, latents: Tensor, labels: Tensor, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    if not (labels >= 0).any():
        return {}, {}
    count = len(source.data.class_names) or int(labels.max()) + 1
    if count > len(latents):
        return {}, {}
    found = kmeans(latents, count, seed, _RESTARTS).labels
    numbers = _agreement("kmeans", labels, found, seed)
    if hasattr(source.model, "cluster"):
        own = source.map("cluster", images)
        numbers |= _agreement("encoder", labels, own, seed)
        numbers["encoder_clusters_used"] = int(own.bincount().count_nonzero())
    settings = {"kmeans_clusters": count, "kmeans_restarts": _RESTARTS}
    return numbers, settings | {"bootstrap_resamples": RESAMPLES, "nmi_ari_ci95": "jackknife"}


def _agreement(method: str, labels: Tensor, clusters: Tensor, seed: int) -> dict[str, Any]:
    """The scores; and each without what few images add to it, with the interval of that."""
    known = labels >= 0
    mended = corrected(labels[known], clusters[known], RESAMPLES, seed)
    numbers: dict[str, Any] = {}
    for name, score in agreement(labels, clusters).items():
        numbers[f"{method}_{name}"] = score
        numbers[f"{method}_{name}_corrected"] = mended[name].score
        numbers[f"{method}_{name}_corrected_ci95"] = [mended[name].low, mended[name].high]
    return numbers


@torch.no_grad()
def _realness(source: Source, images: Tensor, seed: int) -> tuple[dict[str, Any], dict[str, int]]:
    rows = random_rows(len(images), _FOR_LOGITS, seed)
    fake = source.decode(source.prior_sample(len(rows), seed))
    judge = source.model.discriminate
    numbers = averaged("logit_real", judge(images[rows].to(source.device)), seed)
    numbers |= averaged("logit_fake", judge(fake.to(source.device)), seed)
    return numbers, {"logit_images": len(rows)}
