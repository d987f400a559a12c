"""What `latentkit report` looks at before it writes: verbs on the run's model, and a latent map."""

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import torch

from latentkit.cli.evaluating import evaluate
from latentkit.cli.explaining import explain
from latentkit.cli.generating import reconstruct, sample
from latentkit.cli.parser import Common
from latentkit.cli.progress import stage
from latentkit.cli.sources import Source, open_source
from latentkit.latent.cluster import Clustering, kmeans
from latentkit.views.report.latent_map import LatentMap, latent_map


def explore(run: str, common: Common, data: str | None, count: int) -> LatentMap | None:
    """Runs the verbs that apply and are missing; gives the map, of a model that encodes."""
    source, folder = open_source(run, common, data), Path(run) / "report"
    for name, verb in _verbs(source, data, count).items():
        place = folder / name
        if not _known(place / "result.json", source, count if name == "evaluate" else None):
            print(f"report: {name}", file=sys.stderr, flush=True)
            with redirect_stdout(io.StringIO()):
                verb(Common(str(place), common.seed, common.device))
    if not hasattr(source.model, "encode"):
        return None
    with stage("latent map"):
        return _map(source, count, common.seed)


def _verbs(source: Source, data: str | None, count: int) -> dict[str, Callable[[Common], None]]:
    """What can be done with the model, by name."""
    model, name = source.model, source.name
    encodes, decodes = hasattr(model, "encode"), hasattr(model, "decode")
    found: dict[str, Callable[[Common], None]] = {}
    if decodes and hasattr(model, "prior"):
        found["sample"] = lambda c: sample(name, c, count=32, data=data)
    if encodes and decodes:
        found["reconstruct"] = lambda c: reconstruct(name, c, data=data)
    if decodes and (encodes or hasattr(model, "prior")):
        found["explain"] = lambda c: explain(name, c, data=data)
    if encodes or hasattr(model, "discriminate"):
        found["evaluate"] = lambda c: evaluate(name, c, data=data, limit=count)
    return found


def _known(path: Path, source: Source, limit: int | None) -> bool:
    """Whether there is a result about this model, of as many images."""
    try:
        content = json.loads(path.read_text())
        same = content["fingerprint"] == source.fingerprint
        return same and limit in {None, content["settings"]["limit"]}
    except (OSError, ValueError, TypeError, KeyError):  # none, or a damaged one
        return False


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
