"""What a model's latents tell by name: of its own clusters, the data's classes and attributes."""

from typing import Any

import torch
from torch import Tensor

from latentkit.cli.named.sources import Source
from latentkit.cli.progress import stage
from latentkit.explain.readouts import Readout, learn_attributes, learn_classes

_LEARN = 2000  # training images that readouts are learned from
_LEAST = 20  # images with known values that attributes are learned from


def readouts_of(source: Source, seed: int) -> list[Readout]:
    """What the model's latents tell of clusters, classes and attributes; none without an encoder.

    Names say what a score is: "cluster 3" and "class cat" are probabilities, "attribute age" is in
    standard deviations of the data.
    """
    if not hasattr(source.model, "encode"):
        return []
    found = [*_clusters(source)]
    images = source.data.split("train")
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:_LEARN]
    labels, values = images.labels[rows], images.attribute_values[rows]
    names = source.data.attributes
    attributed = bool(names) and int(values.isfinite().all(1).sum()) >= _LEAST
    if not attributed and len(set(labels[labels >= 0].tolist())) < 2:
        return found
    z = source.encode(images[rows][0])
    with stage("readouts of what the data names"):
        classes = learn_classes(z, labels, source.data.class_names, seed)
        found.append(_called("class", classes))
        if attributed:
            found.append(_called("attribute", learn_attributes(z, values, names, seed)))
    return [readout for readout in found if readout.names]


def followed(readouts: list[Readout]) -> dict[str, Any]:
    """How well each score follows what it is named after, by name."""
    pairs = (zip(readout.names, readout.followed, strict=True) for readout in readouts)
    return {name: share for pair in pairs for name, share in pair}


def _clusters(source: Source) -> list[Readout]:
    """The clusters of a model that has its own: the last coordinates of what it encodes to."""
    if not (hasattr(source.model, "classes") and hasattr(source.model, "continuous")):
        return []
    first, names = source.model.continuous, [f"cluster {k}" for k in range(source.model.classes)]

    def probabilities(z: Tensor) -> Tensor:
        return z[:, first:].cpu()

    return [Readout(tuple(names), probabilities, (1.0,) * len(names))]


def _called(kind: str, readout: Readout) -> Readout:
    return Readout(tuple(f"{kind} {k}" for k in readout.names), readout.of, readout.followed)
