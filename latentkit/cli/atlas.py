"""`latentkit explain`: compute the maps of directions or scores, measure them, draw them."""

from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from latentkit.cli.endpoints import parse_number
from latentkit.cli.results import Results
from latentkit.cli.sources import Source
from latentkit.explain import scores
from latentkit.explain.cam import Method, cam
from latentkit.explain.directions import (
    discriminator_direction,
    discriminator_reading,
    effect,
    reading,
)
from latentkit.explain.faithfulness import direction_retrieval, wilson
from latentkit.explain.heatmap import Heatmap
from latentkit.explain.hooks import find_layer
from latentkit.latent.render import decode_path
from latentkit.protocols import Part, Score
from latentkit.store import Directions
from latentkit.views.atlas import Panel, atlas, heatmaps

_MEASURED = 64  # latents on which the maps are measured
_FRAMES = 5  # images of a walk


def parts_of(source: Source) -> dict[str, Part]:
    """The networks that can be looked into; none where the model does not offer any."""
    return dict(source.model.explainable()) if hasattr(source.model, "explainable") else {}


def explain_directions(
    results: Results,
    source: Source,
    found: Directions,
    method: Method,
    layer: str | None,
    rows: int,
    step: float,
) -> None:
    """Draws one atlas for each direction and one of all, and measures the readings."""
    source.require("decode")
    layers = _layers(source, layer)
    read = {name: layers[name] or part.layers[0] for name, part in parts_of(source).items()}
    how = [f"readings by {method} at " + ", ".join(f"{k} {v}" for k, v in read.items())] * bool(
        read
    )
    z = source.latents(max(rows, _MEASURED), results.common.seed).to(source.device)
    maps = [
        _maps_of(source, z, d.to(source.device), layers, method)
        for d in tqdm(found.vectors, desc="directions", leave=False)
    ]
    numbers = _measure(maps)
    scales = found.provenance.get("scale") or [1.0] * len(found.names)
    walks = [
        _walk(source, z[:rows], d, step * s) for d, s in zip(found.vectors, scales, strict=True)
    ]
    first = {q: torch.stack([m[q][0] for m in maps]).cpu() for q in maps[0]}
    overview = Panel(torch.stack([w[0] for w in walks]), first)
    summary = [f"{q}: {_summary(v)}" for q, v in numbers.items()]
    results.figure(atlas(overview, list(found.names), "directions of one image", summary + how))
    for k, name in enumerate(found.names):
        panel = Panel(walks[k], {q: m[:rows].cpu() for q, m in maps[k].items()})
        verdict = [f"{q}: {_verdict(v, k)}" for q, v in numbers.items()]
        picture = atlas(panel, [f"image {i + 1}" for i in range(rows)], name, verdict + how)
        results.figure(picture, results.path(f"direction_{k + 1}.png"))
    settings = {"method": method, "layers": read, "step": step, "directions": found.method}
    for line in summary:
        print(line)
    results.finish({"retrieval": numbers, "names": found.names}, source, **settings)


def _layers(source: Source, layer: str | None) -> dict[str, str | None]:
    """The layer to read in each network: `layer` where there is one, None for the default."""
    parts = parts_of(source)
    if layer is None:
        return dict.fromkeys(parts)
    if not parts:
        raise ValueError(f"{source.name} has no network that can be looked into: leave out --layer")
    found: dict[str, str | None] = dict.fromkeys(parts)
    unknown = []
    for name, part in parts.items():
        try:
            found[name] = find_layer(part.module, layer)[0]
        except ValueError as error:
            unknown.append(f"{name}: {error}")
    if len(unknown) == len(parts):
        raise ValueError("; ".join(unknown))
    return found


def _maps_of(
    source: Source, z: Tensor, d: Tensor, layers: dict[str, str | None], method: Method
) -> dict[str, Tensor]:
    """The effect (N, *S) and the signed readings (N, *S_layer) of one direction, by question."""
    decode, parts = source.model.decode, parts_of(source)
    maps = {"effect": effect(decode, z, d)}
    with torch.no_grad():
        x = decode(z)
    if "encoder" in parts:
        maps["encoder reading"] = reading(parts["encoder"], x, d, layers["encoder"], method).raw
    if "discriminator" in parts:
        part = parts["discriminator"]
        u = discriminator_direction(part, decode, z, d)
        layer = layers["discriminator"]
        maps["discriminator reading"] = discriminator_reading(part, x, u, layer, method).raw
    return maps


def _measure(maps: list[dict[str, Tensor]]) -> dict[str, dict[str, Any]]:
    """Direction retrieval of every kind of reading; empty for a single direction."""
    if len(maps) < 2:
        return {}
    truth = torch.stack([m["effect"] for m in maps])
    measured = {}
    for question in (q for q in maps[0] if q != "effect"):
        result = direction_retrieval(torch.stack([m[question] for m in maps]), truth)
        measured[question] = {
            "accuracy": result.accuracy,
            "interval": list(result.interval),
            "chance": result.chance,
            "per_direction": result.per_direction.tolist(),
            "trials": result.trials,
            "images": result.trials // len(maps),
        }
    return measured


def _verdict(measured: dict[str, Any], k: int) -> str:
    share, chance = measured["per_direction"][k], measured["chance"]
    guess = wilson(share, measured["images"])[0] <= chance
    warning = " - UNFAITHFUL here: no better than a guess" if guess else ""
    return f"told from the other directions in {share:.0%} of images (chance {chance:.0%}){warning}"


def _summary(measured: dict[str, Any]) -> str:
    low, high = measured["interval"]
    return (
        f"direction retrieval {measured['accuracy']:.2f} "
        f"(95 % {low:.2f} to {high:.2f}, chance {measured['chance']:.2f})"
        + (" - UNFAITHFUL here: no better than a guess" if low <= measured["chance"] else "")
    )


def _walk(source: Source, z: Tensor, d: Tensor, length: float) -> Tensor:
    """Images (N, T, C, *S) from z - length d to z + length d."""
    steps = torch.linspace(-length, length, _FRAMES).view(1, -1, *[1] * (z.ndim - 1))
    path = z.cpu()[:, None] + steps * d[None, None]
    return decode_path(source.decode, path)


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
    for name, (part, score) in chosen.items():
        x = images.to(source.device)
        maps[name] = cam(part.module, layer or part.layers[0], x, score, method)
    titles = {name: f"{name}\n({_owner(name)} {v.layer})" for name, v in maps.items()}
    results.figure(heatmaps(images, {titles[k]: v.raw.cpu() for k, v in maps.items()}, method))
    layers = {name: heat.layer for name, heat in maps.items()}
    empty = {name: int(heat.degenerate.sum()) for name, heat in maps.items()}
    numbers = {"images": len(images), "degenerate": empty}
    results.finish(numbers, source, method=method, layers=layers, question="reading")


def _owner(score: str) -> str:
    """The network that computes a score."""
    return "discriminator" if score in {"real", "fake"} else "encoder"


def _score(name: str, source: Source) -> tuple[Part, Score]:
    kind, _, value = name.partition(":")
    if name in {"real", "fake"}:
        return _part(source, "discriminator"), scores.real() if name == "real" else scores.fake()
    if kind not in {"unit", "cluster"} or not value:
        raise ValueError(f"unknown score {name}: expected real, fake, unit:N or cluster:N")
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


def _part(source: Source, name: str) -> Part:
    parts = parts_of(source)
    if name not in parts:
        have = ", ".join(parts) or "no network that can be looked into"
        raise ValueError(f"{source.name} has no {name} to explain: it has {have}")
    return parts[name]
