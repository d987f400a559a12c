"""Where the verb `sample` draws its latents from."""

from typing import Any, Literal, TypeAlias

import torch

from latentkit.cli.named.sources import BATCH, Source, at_least
from latentkit.latent.samplers import NoisyEmpirical, gmm
from latentkit.latent.style import mean_style, truncate
from latentkit.latent.truncation import truncated
from latentkit.latent.two_stage import two_stage
from latentkit.priors import Gaussian, GaussianOneHot
from latentkit.protocols import Prior, StyleDecoder

Sampler: TypeAlias = Literal["prior", "gmm", "two-stage", "empirical"]
_MEAN_OF = 10_000  # latents whose mean style is the centre of the truncation
Drawn: TypeAlias = tuple[torch.Tensor, dict[str, Any]]


def draw(
    source: Source,
    count: int,
    seed: int,
    sampler: Sampler = "prior",
    components: int | None = None,
    bandwidth: float | None = None,
) -> Drawn:
    """Latents (count, *Z) and the settings they were drawn with.

    Any sampler but the prior is fitted to the encoded training images: for a VAE to the posterior
    means, which its `encode` gives. Posterior samples score the same (`benchmarks/samplers.py`).

    Raises:
        ValueError: an option belongs to another sampler, or the model has no prior.
    """
    check_sampler(sampler, components, bandwidth)
    if sampler == "prior":
        if hasattr(source.model, "encode") and not hasattr(source.model, "prior"):
            raise ValueError(
                f"{source.name} has no prior: give --sampler gmm, two-stage or empirical, "
                "which are fitted to its latents of the training images"
            )
        return source.prior_sample(count, seed), {"sampler": sampler}
    source.require("encode", "decode")
    latents = source.encode(source.images("train")[0])
    generator = torch.Generator().manual_seed(seed)
    fitted, settings = _fit(sampler, latents, components or 10, bandwidth, generator)
    about = {"sampler": sampler, "fitted_to": len(latents), **settings}
    return fitted.sample(count, generator=generator), about


def draw_truncated(
    source: Source, count: int, seed: int, psi: float, cutoff: int | None = None
) -> Drawn:
    """Images (count, C, *S) of the middle of the prior, and how it was found.

    A style decoder's styles are moved towards their mean; in other models the Gaussian coordinates
    of the prior are drawn again where they lie beyond psi standard deviations.

    Raises:
        ValueError: the model has neither styles nor Gaussian coordinates, or psi is not above 0 for
            them.
    """
    source.require("prior")
    prior, generator = source.model.prior, torch.Generator().manual_seed(seed)
    if isinstance(source.model, StyleDecoder):
        images = _truncated_styles(source, count, (psi, cutoff), generator)
        how = f"styles, towards the mean of {_MEAN_OF}"
    elif cutoff is not None:
        raise ValueError(
            f"--cutoff is for a style decoder, {source.name} has no styles: leave it out"
        )
    elif not isinstance(prior, Gaussian | GaussianOneHot):
        raise ValueError(
            f"--truncation needs styles or a Gaussian prior, {source.name} has a prior of "
            f"class {type(prior).__name__}: leave it out"
        )
    elif not psi > 0:
        raise ValueError(f"expected --truncation above 0 for a Gaussian prior, got {psi}")
    else:
        images = source.decode(truncated(prior, count, psi, generator))
        how = "coordinates of the prior, drawn again"
    return images, {"sampler": "prior", "truncated": how, "cutoff": cutoff}


@torch.no_grad()
def _truncated_styles(
    source: Source, count: int, strength: tuple[float, int | None], generator: torch.Generator
) -> torch.Tensor:
    model = source.model

    def to_styles(z: torch.Tensor) -> torch.Tensor:
        styles: torch.Tensor = model.to_styles(z.to(source.device))
        return styles

    z = model.prior.sample(count, generator=generator)
    mean = mean_style(to_styles, model.prior, _MEAN_OF, generator)
    batches = torch.split(truncate(to_styles(z), mean, *strength), BATCH)
    return torch.cat([model.from_styles(w).cpu() for w in batches])


def _fit(
    sampler: Sampler,
    latents: torch.Tensor,
    components: int,
    bandwidth: float | None,
    generator: torch.Generator,
) -> tuple[Prior, dict[str, Any]]:
    if sampler == "gmm":
        settings = {"components": components, "reg": 1e-4}
        return gmm(latents, components, settings["reg"], generator), settings
    if sampler == "two-stage":
        steps, batch, lr = 6000, 128, 2e-3
        trained = two_stage(latents, steps, batch, lr, generator)
        return trained, {"steps": steps, "batch": batch, "lr": lr}
    noisy = NoisyEmpirical(latents, bandwidth)
    return noisy, {"bandwidth": noisy.bandwidth}


def check_sampler(
    sampler: Sampler, components: int | None, bandwidth: float | None, truncated: bool = False
) -> None:
    """Refuses an option of one sampler that is given with another."""
    if truncated and sampler != "prior":
        raise ValueError(f"expected --truncation with --sampler prior alone, got {sampler}")
    at_least(1, components=components)
    for name, value, owner in (
        ("components", components, "gmm"),
        ("bandwidth", bandwidth, "empirical"),
    ):
        if value is not None and sampler != owner:
            raise ValueError(f"expected --{name} with --sampler {owner} alone, got {sampler}")
