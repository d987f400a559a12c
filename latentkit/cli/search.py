"""Finding latent directions for the verbs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latentkit.cli.attributes import find_attribute, read_groups
from latentkit.cli.regions import read_region
from latentkit.cli.sources import Source
from latentkit.latent import directions as search
from latentkit.latent.angles import orthogonal
from latentkit.latent.attributes import Method
from latentkit.latent.first_layer import first_weight
from latentkit.latent.local import local
from latentkit.latent.region import leakage, region
from latentkit.store import Directions, load_directions
from latentkit.store.identity import modules_in

Found = tuple[Tensor, list[str], dict[str, Any]]
"""Vectors (K, D), their names, and numbers about them."""


@dataclass(frozen=True)
class Search:
    """What to look for.

    Attributes:
        method: how.
        count: how many.
        limit: training images to look at, at most.
        start: the group without an attribute.
        end: the group with it.
        estimator: of the attribute.
        confound: what to balance.
        region: the part of the image to change.
    """

    method: str = "pca"
    count: int = 4
    limit: int = 5000
    start: str | None = None
    end: str | None = None
    estimator: Method = "centroid"
    confound: str = "label"
    region: str | None = None


def find_directions(
    source: Source, wanted: Search, seed: int, conditions: list[str] | None = None
) -> Directions:
    """Finds directions, without what they share with the conditions (`FILE` or `FILE:NAME`)."""
    given = read_conditions(conditions, source.fingerprint) if conditions else None
    uncertainty: dict[str, Any] = {}
    if wanted.method == "attribute":
        ends = (wanted.start, wanted.end)
        groups = read_groups(source, ends, wanted.estimator, wanted.confound, wanted.limit)
        vectors, numbers, uncertainty = find_attribute(groups, wanted.estimator, given, seed)
        names = [f"{wanted.start} to {wanted.end}"]
        latents = _latents(source, wanted.limit, seed)
    else:
        latents = _latents(source, wanted.limit, seed)
        if latents.ndim != 2:
            raise ValueError(f"expected flat latents (N, D), got {tuple(latents.shape)}")
        vectors, names, numbers = _unsupervised(source, wanted, latents, seed)
        if given is None:  # else they overlap, and their shares do not add up
            numbers["explained_variance"] = search.explained(latents, vectors).sum().item()
        else:
            vectors = orthogonal(vectors, given)
    spread = (latents.flatten(1) @ vectors.flatten(1).T).std(0)
    provenance = {"numbers": numbers, "scale": spread.tolist(), "latents": len(latents)}
    provenance |= {"groups": [wanted.start, wanted.end], "seed": seed}
    provenance |= {"conditions": conditions or []}
    return Directions(
        vectors,
        tuple(names),
        wanted.method,
        source.fingerprint,
        provenance=provenance,
        uncertainty=uncertainty,
    )


def read_conditions(specs: list[str], fingerprint: str) -> Tensor:
    """The directions (L, D) of `FILE` or `FILE:NAME`, which must be of the same model."""
    found = []
    for spec in specs:
        path, ending, name = spec.partition(".safetensors:")
        stored = load_directions(path + ending.removesuffix(":"))
        stored.check(fingerprint)
        if ending and name not in stored.names:
            raise ValueError(f"{spec} names no direction: {path} has {', '.join(stored.names)}")
        rows = [stored.names.index(name)] if ending else range(len(stored.names))
        found.append(stored.vectors[list(rows)].flatten(1))
    return torch.cat(found)


def _latents(source: Source, limit: int, seed: int) -> Tensor:
    if hasattr(source.model, "encode"):
        return source.encode(source.images("train", limit)[0])
    return source.prior_sample(min(limit, 2000), seed)


def _unsupervised(source: Source, wanted: Search, latents: Tensor, seed: int) -> Found:
    count, dim = wanted.count, latents.shape[1]
    if wanted.method == "pca":
        if not hasattr(source.model, "encode"):
            raise ValueError(
                f"{source.name} has no encoder, and its prior varies equally in all directions: "
                "use --method sefa, jacobian or axes"
            )
        return search.pca(latents, count), [f"pc {i + 1}" for i in range(count)], {}
    if wanted.method == "axes":
        if count > dim:
            raise ValueError(f"expected --count up to {dim} axes, got {count}")
        order = latents.std(0).argsort(descending=True)[:count].tolist()
        return search.axes(dim, order), [f"unit {k}" for k in order], {}
    source.require("decode")
    decode, point = source.model.decode, latents[:1].to(source.device)
    names = [f"{wanted.method} {i + 1}" for i in range(count)]
    if wanted.method == "region":
        mask = read_region(str(wanted.region), tuple(decode(point).shape[1:])).to(point)
        # A network has no exact null space: a quarter of its directions disturb the rest least.
        found = region(decode, point, mask, count, null=min(dim, max(count, dim // 4)))
        ratios = leakage(decode, point, mask, found)
        return found.cpu(), names, {"outside_over_inside": ratios.tolist()}
    if wanted.method == "sefa":
        networks = nn.ModuleList(modules_in(source.model))
        found = search.sefa(first_weight(decode, networks, point), count)
    else:
        found = local(decode, point, count, seed=seed)
    return found.cpu(), names, {}
