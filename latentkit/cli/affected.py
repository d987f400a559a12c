"""What each direction affects, for `latentkit explain`: a row of numbers."""

import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from latentkit.cli.sources import Source
from latentkit.explain.affects import affected, monotonicity, moved_clusters, reach

_STEPS = 9  # of a walk to each side
_OBJECTED = 0.05  # share of images that were not moved which the discriminator likes no better


def what_moves(
    source: Source, z: Tensor, d: Tensor, length: float, effects: Tensor
) -> dict[str, Any]:
    """The row of one direction.

    Args:
        source: the model.
        z: latents (N, *Z).
        d: the direction (*Z), of length 1.
        length: how far it is walked to each side.
        effects: what the generator changes (N, *S).

    Returns:
        area, centre, spread of the change (see `affected`); where there is an encoder, how
        monotonically it reads the walk (from -1 to 1); where it knows clusters, which share of
        images changes its own; where there is a discriminator, the length at which it objects
        (None: not on this walk).
    """
    where = affected(effects)
    row: dict[str, Any] = asdict(where)
    lengths = torch.linspace(-length, length, 2 * _STEPS + 1)
    frames = [source.decode(z.cpu() + far * d.cpu()) for far in lengths]
    if hasattr(source.model, "encode"):
        read = torch.stack([source.encode(x) for x in frames], 1)  # (N, T, *Z)
        row["monotonicity"] = monotonicity((read * d.cpu()).flatten(2).sum(2))
        if hasattr(source.model, "classes") and hasattr(source.model, "continuous"):
            clusters = read[..., source.model.continuous :]
            row["clusters_moved"] = moved_clusters(clusters[:, 0], clusters[:, -1])
    if hasattr(source.model, "discriminate"):
        logits = torch.stack([source.run("discriminate", x).detach().cpu() for x in frames], 1)
        least = float(logits[:, _STEPS].quantile(_OBJECTED))
        far = reach(logits, lengths.abs(), least)
        row["discriminator_objects_at"] = None if math.isinf(far) else far
    return row
