"""`latentkit explain --score`: heatmaps of test images for named scores."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from latentkit.cli.named.endpoints import parse_number
from latentkit.cli.named.regions import read_region
from latentkit.cli.named.sources import Source
from latentkit.cli.results import Results
from latentkit.explain import scores
from latentkit.explain.cam import Method, cam
from latentkit.explain.control import networks
from latentkit.explain.decoder_weighted import effect_weights, score_weights, weighted
from latentkit.explain.heatmap import Heatmap
from latentkit.explain.references import outputs, reconstruction_error
from latentkit.protocols import Part, Score
from latentkit.views.atlas import heatmaps

FORMS = "real, fake, unit:N, cluster:N, decoder, decoder:REGION or reconstruction"
_FOR_ORIGIN = 1000  # test images whose mean latent stands for nothing in particular

Scored: TypeAlias = tuple[Part, Callable[[Tensor], Score]]
"""A network, and its score for given images."""


def explain_scores(
    results: Results,
    source: Source,
    names: list[str],
    method: Method,
    layer: str | None,
    count: int,
) -> None:
    """Draws heatmaps of test images for the named scores."""
    chosen = {name: _score(name, source) for name in names}  # refuses wrong names before the work
    images = source.images("test", count)[0]
    maps: dict[str, Heatmap] = {}
    for name, (part, score_of) in chosen.items():
        x = images.to(source.device)
        maps[name] = cam(part.module, layer or part.layers[0], x, score_of(x), method)
    titles = {name: f"{name}\n({_owner(name)} {v.layer})" for name, v in maps.items()}
    results.figure(heatmaps(images, {titles[k]: v.raw.cpu() for k, v in maps.items()}, method))
    layers = {name: heat.layer for name, heat in maps.items()}
    empty = {name: int(heat.degenerate.sum()) for name, heat in maps.items()}
    for name, blank in empty.items():
        if blank:
            print(f"{name}: {blank} of {len(images)} maps are empty or not finite")
    numbers = {"images": len(images), "degenerate": empty}
    results.finish(numbers, source, method=method, layers=layers, question="reading")


def _owner(score: str) -> str:
    """The network that computes a score."""
    return "discriminator" if score in {"real", "fake"} else "encoder"


def _score(name: str, source: Source) -> Scored:
    kind, _, value = name.partition(":")
    if name in {"decoder", "reconstruction"} or (kind == "decoder" and value):
        return _autoencoder(source, name, value)
    part, score = _of_output(name, source)
    return part, lambda _: score


def _of_output(name: str, source: Source) -> tuple[Part, Score]:
    """A network and a score of what it returns."""
    kind, _, value = name.partition(":")
    if name in {"real", "fake"}:
        return _part(source, "discriminator"), scores.real() if name == "real" else scores.fake()
    if kind not in {"unit", "cluster"} or not value:
        raise ValueError(f"unknown score {name}: expected {FORMS}")
    number = parse_number(name, value)
    if kind == "unit":
        size = source.latent_size
        if size is not None and number >= size:
            raise ValueError(f"{name} is outside the {size} latent units")
        return _part(source, "encoder"), scores.unit(number)
    classes = getattr(source.model, "classes", None)
    if classes is None:
        raise ValueError(
            f"{name} needs a model with clusters of its own, which {source.name} is not"
        )
    if number >= classes:
        raise ValueError(f"{name} is outside the {classes} clusters")
    return _part(source, "encoder"), scores.unit(source.model.continuous + number)


def _autoencoder(source: Source, name: str, region: str) -> Scored:
    """The decoder-weighted latent CAM, by effect or by how well the image comes back."""
    part = _part(source, "encoder")
    source.require("encode", "decode")
    mask = read_region(region, source.data.image_shape).to(source.device) if region else None

    def score_of(x: Tensor) -> Score:
        decode, z = source.model.decode, _latents(source, part, x, name)
        if name == "reconstruction":
            error = reconstruction_error(x)
            return weighted(score_weights(decode, z, lambda image: -error(image)))
        origin = source.latents(_FOR_ORIGIN, seed=0).mean(0).to(z)
        return weighted(effect_weights(decode, z, origin, mask))

    return part, score_of


def _latents(source: Source, part: Part, x: Tensor, name: str) -> Tensor:
    """Latents (N, *Z) of the images, where the encoder's network gives them as they are."""
    z = outputs(part.module, x)
    read = source.encode(x).to(z)
    if z.shape != read.shape or not torch.allclose(z, read, rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"{name} needs an encoder network whose output is what the decoder takes: {source.name}"
            " changes it in between, as a ClusterGAN does; take an autoencoder or a VAE"
        )
    return z


def _part(source: Source, name: str) -> Part:
    parts = networks(source.model)
    if name not in parts:
        have = ", ".join(parts) or "no network that can be looked into"
        raise ValueError(f"{source.name} has no {name} to explain: it has {have}")
    return parts[name]
