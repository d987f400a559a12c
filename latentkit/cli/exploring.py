"""What `latentkit report` looks at before it writes: verbs on the run's model, and a latent map."""

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch

from latentkit.cli.evaluating import evaluate
from latentkit.cli.explaining import explain
from latentkit.cli.generating import reconstruct, sample
from latentkit.cli.parser import Common
from latentkit.cli.progress import stage
from latentkit.cli.sources import Source, open_source
from latentkit.latent.cluster import Clustering, kmeans
from latentkit.store import write_json
from latentkit.views.report.latent_map import LatentMap, latent_map

T = TypeVar("T")
Key: TypeAlias = dict[str, Any]
_KEY = "looked_at.json"  # what a result was made of


def explore(
    run: str, common: Common, data: str | None, count: int
) -> tuple[LatentMap | None, list[str]]:
    """Runs the verbs that apply and are missing.

    Returns:
        The map, of a model that encodes; and a sentence for everything that could not be done.
    """
    source, folder = open_source(run, common, data), Path(run) / "report"
    key = {"fingerprint": source.fingerprint, "data": data, "seed": common.seed, "images": count}
    failed: list[str] = []
    for name, verb in _verbs(source, data, count).items():
        if not _known(folder / name, key):
            print(f"report: {name}", file=sys.stderr, flush=True)
            _try(name, partial(_look, folder / name, verb, common, key), failed)
    if not hasattr(source.model, "encode"):
        return None, failed
    with stage("latent map"):
        return _try("latent map", partial(_map, source, count, common.seed), failed), failed


def _try(name: str, work: Callable[[], T], failed: list[str]) -> T | None:
    """A page about a broken model or lost data is worth more than none."""
    try:
        return work()
    except (ValueError, OSError, RuntimeError) as error:
        failed.append(f"{name} could not be done: {error}")
        return None


def _look(place: Path, verb: Callable[[Common], None], common: Common, key: Key) -> None:
    with redirect_stdout(io.StringIO()):
        verb(Common(str(place), common.seed, common.device))
    write_json(place / _KEY, key)


def _verbs(source: Source, data: str | None, count: int) -> dict[str, Callable[[Common], None]]:
    """What can be done with the model, by name."""
    model, name = source.model, source.name
    encodes, decodes = hasattr(model, "encode"), hasattr(model, "decode")
    found: dict[str, Callable[[Common], None]] = {}
    if decodes and hasattr(model, "prior"):
        found["sample"] = lambda c: sample(name, c, count=32, data=data)
    if encodes and decodes:
        found["reconstruct"] = lambda c: reconstruct(name, c, data=data, random=True)
    if decodes and (encodes or hasattr(model, "prior")):
        found["explain"] = lambda c: explain(name, c, data=data)
    if encodes or hasattr(model, "discriminate"):
        found["evaluate"] = lambda c: evaluate(name, c, data=data, limit=count)
    return found


def _known(place: Path, key: Key) -> bool:
    """Whether there is a whole result of the same model, data, seed and number of images."""
    try:
        files = json.loads((place / "result.json").read_text())["files"]
        same: bool = json.loads((place / _KEY).read_text()) == key
    except (OSError, ValueError, TypeError, KeyError):  # none, or a damaged one
        return False
    return same and all((place / name).is_file() for name in files)


def _map(source: Source, count: int, seed: int) -> LatentMap:
    images, labels = source.sample("test", count, seed)
    latents = source.encode(images).flatten(1)
    found, how = _clusters(source, images, latents, seed)
    notes = [f"{len(images)} test images, drawn at random. {how}"]
    return latent_map(latents, images, labels, found, source.data.class_names, notes)


def _clusters(
    source: Source, images: torch.Tensor, latents: torch.Tensor, seed: int
) -> tuple[Clustering, str]:
    """The model's own clusters where it has them, else those of K-means."""
    count = min(len(source.data.class_names) or 10, len(latents))
    if not hasattr(source.model, "cluster"):
        return kmeans(latents, count, seed), f"Clusters by K-means with {count} centres."
    with torch.no_grad():
        parts = [source.model.code(x.to(source.device))[1] for x in torch.split(images, 256)]
    shares = torch.cat(parts).softmax(1).cpu()
    confidence, labels = shares.max(1)
    centres = torch.zeros(shares.shape[1], latents.shape[1])
    found = Clustering("encoder", labels, centres, confidence)
    return found, "Clusters are the encoder's own, as sure as its softmax is."
