"""How `latentkit evaluate` compares generated images with real ones."""

from typing import Any

import torch
from torch import Tensor

from latentkit.cli.named.sources import BATCH, Source
from latentkit.cli.progress import watched
from latentkit.data.images import random_rows
from latentkit.metrics.bootstrap import averaged
from latentkit.metrics.generated import compared, intervals
from latentkit.metrics.geometry import arc, perceptual_path_length
from latentkit.priors import Gaussian
from latentkit.training.features import Space

_MOST = 5_000  # generated images, unless the user asks for more
_PATHS = 1000  # places that the path length is averaged over
_STEP = 1e-4  # of the path length where there is no derivative, as in the paper


def against_real(
    source: Source, space: Space, images: Tensor, samples: int | None, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Numbers and settings: distances, shares and path length in the space's features.

    Args:
        source: the model, with `decode` and a prior.
        space: the features.
        images: real ones, (N, C, *S).
        samples: generated images; None for as many as real ones, at most 5,000.
        seed: of everything random.
    """
    count = samples or min(_MOST, len(images))
    settings: dict[str, Any] = {"generated_images": count, "real_images": min(count, len(images))}
    real = space.read(images[random_rows(len(images), count, seed)], source.device)
    fake = space.read(source.decode(source.prior_sample(count, seed)), source.device)
    name = _full_name(space, real)
    settings |= {"features": name, "feature_size": real.shape[1], **space.settings}
    found, how = compared(real, fake, name, seed)
    numbers: dict[str, Any] = {**space.numbers, **found}
    settings |= how
    ends, over = intervals(real, fake, found, name, seed)
    numbers, settings = numbers | ends, settings | over
    lengths, how = _path_lengths(source, space, min(_PATHS, count), seed)
    return numbers | averaged(f"ppl_{name}", lengths, seed), settings | how


def _full_name(space: Space, features: Tensor) -> str:
    """An encoder's name carries its size, as the others' do."""
    return f"encoder{features.shape[1]}" if space.name == "encoder" else space.name


def _path_lengths(
    source: Source, space: Space, count: int, seed: int
) -> tuple[Tensor, dict[str, Any]]:
    """Squared speeds (N,) at random places of paths between latents of the prior."""
    ends = source.prior_sample(2 * count, seed + 1)
    t = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    curved = isinstance(source.model.prior, Gaussian)
    a, b = ends[:count].flatten(1), ends[count:].flatten(1)
    z, dz = arc(a, b, t) if curved else (a + t[:, None] * (b - a), b - a)
    pair = [v.view(count, *ends.shape[1:]) for v in (z, dz)]
    settings = {"ppl_paths": count, "ppl_path": "slerp" if curved else "lerp"}
    try:
        return _speeds(source, space, pair, None), {**settings, "ppl_epsilon": 0.0}
    except ValueError:  # no derivative: the paper's small step
        return _speeds(source, space, pair, _STEP), {**settings, "ppl_epsilon": _STEP}


@torch.no_grad()
def _speeds(source: Source, space: Space, pair: list[Tensor], epsilon: float | None) -> Tensor:
    def perceive(z: Tensor) -> Tensor:
        return space.flat(source.model.decode(z))

    batches = list(zip(*(torch.split(v.to(source.device), BATCH) for v in pair), strict=True))
    bar = watched(batches, "path length", few=len(batches) < 2)
    return torch.cat([perceptual_path_length(perceive, z, dz, epsilon).cpu() for z, dz in bar])
