"""Geodesics of the model that the user named, with a progress bar."""

import torch
from torch import Tensor

from latentkit.cli.named.sources import Source
from latentkit.cli.progress import bar
from latentkit.latent.classes import split_checked, with_classes_on_simplex
from latentkit.latent.geodesic import geodesic
from latentkit.priors import GaussianOneHot

_PAIRS = 64  # bent at once


def geodesics(source: Source, a: Tensor, b: Tensor, steps: int, iterations: int = 200) -> Tensor:
    """Paths (N, steps, *Z) between latents (N, *Z) whose images change least, on the CPU.

    The classes of a ClusterGAN stay on the simplex: what is bent is a path in front of the
    projection on it, so that the projected path is the short one.
    """
    source.decode(a[:1])  # a model that refuses these latents says so in one sentence
    prior = getattr(source.model, "prior", None)

    def kept(z: Tensor) -> Tensor:
        return with_classes_on_simplex(z, prior) if isinstance(prior, GaussianOneHot) else z

    def decode(z: Tensor) -> Tensor:
        images: Tensor = source.model.decode(kept(z))
        return images

    if isinstance(prior, GaussianOneHot):
        split_checked(torch.cat([a, b]), prior)  # the projection would move such ends
    found = []
    for x, y in zip(torch.split(a, _PAIRS), torch.split(b, _PAIRS), strict=True):
        start, end = x.to(source.device), y.to(source.device)
        path = geodesic(start, end, steps, decode, iterations=iterations, watch=bar("geodesic"))
        inner = path[:, 1:-1]
        middle = kept(inner.flatten(0, 1)).reshape(inner.shape)
        found.append(torch.cat([x[:, None], middle.cpu(), y[:, None]], dim=1))
    return torch.cat(found)
