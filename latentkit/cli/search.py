"""Finding latent directions for the verbs."""

from pathlib import Path

import torch
from torch import Tensor

from latentkit.cli.endpoints import parse_number, read_image
from latentkit.cli.sources import Source
from latentkit.latent import directions as search
from latentkit.latent.attributes import attribute, separation
from latentkit.store import Directions

_FILES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")


def find_directions(
    source: Source,
    method: str,
    count: int,
    groups: tuple[str | None, str | None],
    limit: int,
    seed: int,
) -> Directions:
    """Finds `count` directions; `groups` are the start and end of an attribute."""
    numbers: dict[str, float]
    if method == "attribute":
        vectors, names, numbers = _attribute(source, groups, limit)
        latents = _latents(source, limit, seed)
    else:
        latents = _latents(source, limit, seed)
        if latents.ndim != 2:
            raise ValueError(f"expected flat latents (N, D), got {tuple(latents.shape)}")
        vectors, names = _unsupervised(source, method, latents, count)
        share = search.explained(latents, vectors).sum().item()
        numbers = {"explained_variance": share}
    spread = (latents.flatten(1) @ vectors.flatten(1).T).std(0)
    provenance = {"numbers": numbers, "scale": spread.tolist(), "latents": len(latents)}
    provenance |= {"groups": list(groups), "seed": seed}
    return Directions(vectors, tuple(names), method, source.fingerprint, provenance=provenance)


def _latents(source: Source, limit: int, seed: int) -> Tensor:
    if hasattr(source.model, "encode"):
        return source.encode(source.images("train", limit)[0])
    return source.prior_sample(min(limit, 2000), seed)


def _unsupervised(
    source: Source, method: str, latents: Tensor, count: int
) -> tuple[Tensor, list[str]]:
    if method == "jacobian":
        source.require("decode")
        z = latents[:1].to(source.device)
        found = search.jacobian(source.model.decode, z, count).cpu()
        return found, [f"jacobian {i + 1}" for i in range(count)]
    if method == "axes":
        if count > latents.shape[1]:
            raise ValueError(f"expected --count up to {latents.shape[1]} axes, got {count}")
        order = latents.std(0).argsort(descending=True)[:count].tolist()
        return search.axes(latents.shape[1], order), [f"unit {k}" for k in order]
    if not hasattr(source.model, "encode"):
        raise ValueError(
            f"{source.name} has no encoder, and its prior varies equally in all directions: "
            "use --method jacobian or axes"
        )
    return search.pca(latents, count), [f"pc {i + 1}" for i in range(count)]


def _attribute(
    source: Source, groups: tuple[str | None, str | None], limit: int
) -> tuple[Tensor, list[str], dict[str, float]]:
    start, end = groups
    if start is None or end is None:
        raise ValueError(
            "--method attribute needs --start and --end: label:N or a folder of images"
        )
    pair = [source.encode(_group(source, name, limit)) for name in (start, end)]
    # Every other latent finds the direction, the rest measure it.
    vector = attribute(pair[0][::2], pair[1][::2])
    numbers = {"start_images": float(len(pair[0])), "end_images": float(len(pair[1]))}
    if min(len(latents) for latents in pair) > 1:
        numbers["held_out_auc"] = separation(pair[0][1::2], pair[1][1::2], vector)
    return vector[None], [f"{start} to {end}"], numbers


def _group(source: Source, name: str, limit: int) -> Tensor:
    """The images (N, C, *S) of one group."""
    kind, _, value = name.partition(":")
    if kind == "label" and value:
        images, labels = source.images("train", limit)
        chosen = images[labels == parse_number(name, value)]
        if not len(chosen):
            raise ValueError(f"{name} has no image among the first {len(labels)} for training")
        return chosen
    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(f"{name} is no group: expected label:N or a folder of images")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _FILES)[:limit]
    if not files:
        raise ValueError(f"no images ({', '.join(_FILES)}) in {folder}")
    return torch.cat([read_image(path, source) for path in files])
