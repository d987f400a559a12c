"""Finding latent directions for the verbs."""

from typing import Any

import torch
from torch import Tensor

from latentkit.cli.explaining.attributes import find_attribute, read_groups
from latentkit.cli.explaining.unsupervised import EXACT, Wanted, cones, unsupervised
from latentkit.cli.named.sources import Source
from latentkit.latent import directions as search
from latentkit.latent.angles import orthogonal
from latentkit.store import Directions


def find_directions(
    source: Source, wanted: Wanted, seed: int, conditions: list[str] | None = None
) -> Directions:
    """Finds directions, without what they share with the conditions (`FILE` or `FILE:NAME`)."""
    given = _read_conditions(conditions, source) if conditions else None
    uncertainty: dict[str, Any] = {}
    if wanted.method == "attribute":
        ends = (wanted.start, wanted.end)
        groups = read_groups(source, ends, wanted.estimator, wanted.confound, wanted.limit)
        vectors, numbers, uncertainty = find_attribute(groups, wanted.estimator, given, seed)
        names = [f"{wanted.start} to {wanted.end}"]
        latents = _latents(source, wanted.limit, seed)
    else:
        latents = _latents(source, wanted.limit, seed)
        flat = latents.flatten(1)
        vectors, names, numbers = unsupervised(source, wanted, latents, seed)
        if given is None:  # else they overlap, and their shares do not add up
            numbers["explained_variance"] = search.explained(flat, vectors).sum().item()
        else:
            vectors = orthogonal(vectors, given)
        if wanted.method == "pca":
            uncertainty = cones(flat, vectors, given, seed)
            numbers["cone_degrees"] = uncertainty["cone_degrees"]
    spread = (latents.flatten(1) @ vectors.T).std(0)
    provenance = {"numbers": numbers, "scale": spread.tolist(), "latents": len(latents)}
    provenance |= {"groups": [wanted.start, wanted.end], "seed": seed}
    provenance |= {"conditions": conditions or []}
    if wanted.method in EXACT:
        provenance["error"] = EXACT[wanted.method]
    return Directions(
        vectors.reshape(-1, *latents.shape[1:]),
        tuple(names),
        wanted.method,
        source.fingerprint,
        provenance=provenance,
        uncertainty=uncertainty,
    )


def _read_conditions(specs: list[str], source: Source) -> Tensor:
    """The directions (L, D) of `FILE` or `FILE:NAME`, which must be of the same model."""
    found = []
    for spec in specs:
        path, ending, name = spec.partition(".safetensors:")
        stored = source.directions(path + ending.removesuffix(":"))
        if ending and name not in stored.names:
            raise ValueError(f"{spec} names no direction: {path} has {', '.join(stored.names)}")
        rows = [stored.names.index(name)] if ending else range(len(stored.names))
        found.append(stored.vectors[list(rows)].flatten(1))
    return torch.cat(found)


def _latents(source: Source, limit: int, seed: int) -> Tensor:
    if hasattr(source.model, "encode"):
        return source.encode(source.images("train", limit)[0])
    return source.prior_sample(min(limit, 2000), seed)
