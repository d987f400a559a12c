"""What each direction affects, for `latentkit explain`: a row of numbers, and in words."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from latentkit.cli.named.sources import Source
from latentkit.explain.affects import affected, monotonicity, moved_clusters, reach
from latentkit.explain.moves import moves
from latentkit.explain.readouts import Readout

_TOLD = 3  # of what moves, in words
_LEAST = 0.01  # a smaller move may be sure and is not worth a word
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


def what_is_moved(
    source: Source, z: Tensor, step: Tensor, readouts: Sequence[Readout]
) -> list[dict[str, Any]]:
    """Which clusters, classes and attributes the step from z - step to z + step moves.

    Scores that hardly follow what they are named after are left out (see `Readout.well_read`).

    Args:
        source: the model, with encoder and decoder.
        z: latents (N, *Z).
        step: (*Z), one standard deviation of the data along the direction.
        readouts: what is read of the encoded images.

    Returns:
        One `Move` a score, the largest change first, corrected for their number.
    """
    sure = [readout.well_read() for readout in readouts]
    names = [name for readout in sure for name in readout.names]
    if not names or len(z) < 2:
        return []
    ends = [source.encode(source.decode(z.cpu() + side * step.cpu())) for side in (-1, 1)]
    before, after = (torch.cat([readout.of(end) for readout in sure], 1) for end in ends)
    found = moves(names, before, after)
    return [asdict(move) for move in sorted(found, key=lambda move: -abs(move.change))]


def moved_in_words(found: Sequence[dict[str, Any]]) -> list[str]:
    """A line that names the largest moves, given largest first; none if nothing was looked at."""
    if not found:
        return []
    step = "from -1 to +1 standard deviation"
    sure = [move for move in found if move["moves"]]
    if not sure:
        read = "the clusters, classes and attributes that can be read"
        return [f"{step}: none of {read} is sure to move"]
    sure = [move for move in sure if abs(move["change"]) >= _LEAST]
    if not sure:
        return [f"{step}: what is sure to move does so by less than {_LEAST}"]
    largest = ", ".join(f"{move['name']} {move['change']:+.2f}" for move in sure[:_TOLD])
    return [f"{step}: {largest}" + (f" and {len(sure) - _TOLD} more" if sure[_TOLD:] else "")]
