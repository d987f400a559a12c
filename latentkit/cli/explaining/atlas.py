"""`latentkit explain`: compute the maps of directions, measure them, draw them."""

from typing import Any

import torch
from torch import Tensor

from latentkit.cli.explaining.affected import moved_in_words, what_is_moved, what_moves
from latentkit.cli.explaining.readings import Reader, effects, uses
from latentkit.cli.explaining.readouts import followed, readouts_of
from latentkit.cli.named.sources import Source
from latentkit.cli.results import Results
from latentkit.explain.faithfulness import (
    Retrieval,
    direction_retrieval,
    measurable,
    with_rivals,
)
from latentkit.explain.verdicts import NOT_MEASURABLE, in_numbers, summary, verdict
from latentkit.latent.render import decode_path
from latentkit.store import Directions
from latentkit.views.atlas import AtlasRows, atlas, check_walks, limits_of

MEASURED = 64  # latents on which the maps are measured
_FRAMES = 5  # images of a walk


def explain_directions(
    results: Results, found: Directions, reader: Reader, rows: int, step: float
) -> None:
    """Draws one atlas for each direction and one of all, and measures the readings."""
    source, z, vectors = reader.source, reader.z, found.vectors.to(reader.z)
    layers = reader.layers()  # refuses a wrong name before the work
    scales = found.provenance.get("scale") or [1.0] * len(vectors)
    walks = [_walk(source, z[:rows], d, step * s) for d, s in zip(vectors, scales, strict=True)]
    check_walks(walks[0])
    rivals = with_rivals(vectors, results.common.seed, found.names)
    truth, readings = effects(source, z, rivals), reader.readings(rivals)
    told = _told(reader, rivals, truth, readings)
    count = len(vectors)
    maps = {"effect": truth[:count], **{q: m[:count] for q, m in readings.items()}}
    missing: list[float] = []
    if use := uses(source, z[:rows], vectors, min(map(float, scales)) / 2):
        maps["encoder use"], missing = use
    affects = [
        what_moves(source, z, d, step * s, e)
        for d, s, e in zip(vectors, scales, maps["effect"], strict=True)
    ]
    if readouts := readouts_of(source, results.common.seed):
        for d, s, row in zip(vectors, scales, affects, strict=True):
            row["moves"] = what_is_moved(source, z, s * d, readouts)
    _draw(results, found, maps, walks, _notes(reader, told, affects, missing))
    for question, one in told.items():
        print(f"{question}: {summary(one) if one else NOT_MEASURABLE}")
    for name, moves in zip(found.names, affects, strict=True):
        said = [_in_words(moves), *moved_in_words(moves.get("moves", []))]
        print(f"  {name}: {'; '.join(said)}")
    content: dict[str, Any] = {
        "retrieval": {q: in_numbers(v) for q, v in told.items() if v is not None}
    }
    content |= {"names": found.names, "affects": affects}
    content |= {"use_completeness_error": missing} if missing else {}
    content |= {"readouts": followed(readouts)} if readouts else {}
    settings: dict[str, Any] = {"method": reader.method, "layers": layers, "step": step}
    settings |= {"note": note} if (note := reader.note()) else {}
    results.finish(content, source, **settings, directions=found.method)


def _told(
    reader: Reader, vectors: Tensor, truth: Tensor, readings: dict[str, Tensor]
) -> dict[str, Retrieval | None]:
    """By question, how well the maps were told apart; None where nothing can be."""
    if not measurable(vectors):
        return dict.fromkeys(readings)
    blank = reader.controls(vectors) if readings else []
    return {
        q: direction_retrieval(maps, truth, [control[q] for control in blank if q in control])
        for q, maps in readings.items()
    }


def _notes(
    reader: Reader,
    told: dict[str, Retrieval | None],
    affects: list[dict[str, Any]],
    missing: list[float],
) -> list[list[str]]:
    """Lines below the overview, and below the atlas of each direction."""
    layers = ", ".join(f"{k} {v}" for k, v in reader.layers().items())
    how = [f"readings by {reader.method}" + (f" at {layers}" if layers else "")] * bool(told)
    how += [note] if (note := reader.note()) else []
    overview = [f"{q}: {summary(v) if v else NOT_MEASURABLE}" for q, v in told.items()] + how
    each = [
        [
            _in_words(moves),
            *moved_in_words(moves.get("moves", [])),
            *(f"{q}: {verdict(v.only(k)) if v else NOT_MEASURABLE}" for q, v in told.items()),
            *how,
        ]
        for k, moves in enumerate(affects)
    ]
    for lines, error in zip(each, missing, strict=False):  # no use without an encoder
        lines.append(f"encoder use: its sum misses the change of the encoder by {error:.1%}")
    return [overview, *each]


def _draw(
    results: Results,
    found: Directions,
    maps: dict[str, Tensor],
    walks: list[Tensor],
    notes: list[list[str]],
) -> None:
    """Draws all pictures with the same colours for the same values."""
    shown = {q: m[:, : len(walks[0])].cpu() for q, m in maps.items()}
    limits = {q: limits_of(m) for q, m in shown.items()}
    first = {q: m[:, 0] for q, m in shown.items()}
    overview = AtlasRows(torch.stack([w[0] for w in walks]), first, limits)
    results.figure(atlas(overview, list(found.names), "directions of one image", notes[0]))
    for k, name in enumerate(found.names):
        panel = AtlasRows(walks[k], {q: m[k] for q, m in shown.items()}, limits)
        rows = [f"image {i + 1}" for i in range(len(walks[k]))]
        picture = atlas(panel, rows, name, notes[k + 1])
        results.figure(picture, results.path(f"direction_{k + 1}{results.main.suffix}"))


def _in_words(moves: dict[str, Any]) -> str:
    if moves["centre"] is None:
        return "changes nothing"
    centre = ", ".join(f"{c:.2f}" for c in moves["centre"])
    said = [
        f"affects {moves['area']:.0%} of the image around ({centre}), spread {moves['spread']:.2f}"
    ]
    if "monotonicity" in moves:
        said.append(f"read monotonically {moves['monotonicity']:.2f}")
    if "clusters_moved" in moves:
        said.append(f"{moves['clusters_moved']:.0%} change cluster")
    if "discriminator_objects_at" in moves:
        far = moves["discriminator_objects_at"]
        said.append(
            "the discriminator does not object"
            if far is None
            else f"the discriminator objects at {far:.2g}"
        )
    return "; ".join(said)


def _walk(source: Source, z: Tensor, d: Tensor, length: float) -> Tensor:
    """Images (N, T, C, *S) from z - length d to z + length d."""
    steps = torch.linspace(-length, length, _FRAMES).view(1, -1, *[1] * (z.ndim - 1))
    path = z.cpu()[:, None] + steps * d.cpu()[None, None]
    return decode_path(source.decode, path)
