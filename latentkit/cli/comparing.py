"""What `latentkit compare` measures of several models, on the same images and seeds."""

import io
import json
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentkit.cli.evaluating import evaluate
from latentkit.cli.parser import Common
from latentkit.cli.sources import Source, open_source
from latentkit.data.base import ImageData
from latentkit.metrics.similarity import cka, rotation_fit
from latentkit.training.classifier import has_classes
from latentkit.views.comparison import Side

_SHOWN = 16  # samples and reconstructions
_OWN = re.compile(r"_encoder\d+(_|$)")  # in the name of a number: measured in the own encoder


def sources_of(runs: list[str], common: Common, data: str | None) -> list[Source]:
    """The models, which must work on the same images.

    Raises:
        ValueError: if two are one, their images differ in shape, or they were trained on other
            data and none are given.
    """
    sources = [open_source(run, common, data) for run in runs]
    if len(set(runs)) < len(runs):
        raise ValueError(f"expected different runs, got one twice: {', '.join(runs)}")
    first = sources[0]
    for other in sources[1:]:
        if other.data.image_shape != first.data.image_shape:
            raise ValueError(
                f"expected models of the same images, got {first.data.image_shape} for "
                f"{first.name} and {other.data.image_shape} for {other.name}"
            )
        if data is None and not _one(other.data, first.data):
            raise ValueError(
                f"{other.name} was trained on other data than {first.name}: what one has not seen "
                "the other may have; say with --data which images to compare them on"
            )
    return sources


def compared(
    sources: list[Source], common: Common, data: str | None, count: int, features: str | None
) -> tuple[list[Side], dict[str, dict[str, float]], dict[str, Any]]:
    """One side a model; how alike each two latent spaces are; and the settings."""
    images = sources[0].sample("test", count, common.seed)[0]
    shown = images[torch.linspace(0, len(images) - 1, min(_SHOWN, len(images))).long()]
    look = partial(_evaluated, common=common, data=data, count=count, features=features)
    sides = [_side(source, shown, common, look) for source in sources]
    latents = {s.name: s.encode(images).flatten(1) for s in sources if hasattr(s.model, "encode")}
    alike = {
        f"{a}, {b}": {"cka": cka(x, y), "rotation": rotation_fit(x, y)}
        for (a, x), (b, y) in combinations(latents.items(), 2)
    }
    return sides, alike, {"images": len(images), "runs": [s.name for s in sources]}


def _one(a: ImageData, b: ImageData) -> bool:
    """Whether two data sets hold the same images: by their sizes, and some test images."""
    sizes = [[len(data.split(part)) for part in ("train", "val", "test")] for data in (a, b)]
    first = [data.split("test")[slice(0, 16)][0] for data in (a, b)]
    return sizes[0] == sizes[1] and torch.equal(*first)


def _side(
    source: Source,
    images: Tensor,
    common: Common,
    look: Callable[[Source], tuple[dict[str, Any], dict[str, Any]]],
) -> Side:
    print(f"compare: {source.name}", file=sys.stderr, flush=True)
    model, samples, rebuilt = source.model, None, None
    decodes = hasattr(model, "decode")
    if decodes and hasattr(model, "prior"):
        samples = source.decode(source.prior_sample(_SHOWN, common.seed))
    if decodes and hasattr(model, "encode"):
        rebuilt = source.decode(source.encode(images))
    numbers, settings = look(source)
    return Side(source.name, source.fingerprint, numbers, settings, images, samples, rebuilt)


def _evaluated(
    source: Source, common: Common, data: str | None, count: int, features: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `latentkit evaluate` says, without what is in the features of the model's own encoder.

    Every model has another encoder, so such numbers would not compare.
    """
    generates = hasattr(source.model, "decode") and hasattr(source.model, "prior")
    if features is None and generates and has_classes(source.data):
        features = "classifier"
    features = features if generates else None
    with tempfile.TemporaryDirectory() as folder:
        quiet = Common(folder, common.seed, common.device)
        with redirect_stdout(io.StringIO()):
            evaluate(source.name, quiet, data=data, limit=count, features=features)
        content = json.loads((Path(folder) / "result.json").read_text())
    kept = {k: v for k, v in content["numbers"].items() if not _OWN.search(k)}
    return kept, content["settings"]
