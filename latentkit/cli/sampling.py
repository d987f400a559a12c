"""Where the verb `sample` draws its latents from."""

from typing import Any, Literal, TypeAlias

import torch

from latentkit.cli.sources import Source, at_least
from latentkit.latent.samplers import NoisyEmpirical, gmm
from latentkit.latent.two_stage import two_stage
from latentkit.protocols import Prior

Sampler: TypeAlias = Literal["prior", "gmm", "two-stage", "empirical"]
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
    """
    _check(sampler, components, bandwidth)
    if sampler == "prior":
        if not hasattr(source.model, "prior"):
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


def _check(sampler: Sampler, components: int | None, bandwidth: float | None) -> None:
    at_least(1, components=components)
    for name, value, owner in (
        ("components", components, "gmm"),
        ("bandwidth", bandwidth, "empirical"),
    ):
        if value is not None and sampler != owner:
            raise ValueError(f"expected --{name} with --sampler {owner} alone, got {sampler}")
