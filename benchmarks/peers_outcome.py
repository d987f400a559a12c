"""What a check of `peers.py` finds of one side."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SHOWN = 1e-3  # of the largest value: what no picture shows


@dataclass(frozen=True)
class Outcome:
    """What one side did.

    Attributes:
        ok: whether the claim holds for it; None where it has no such thing, or nobody is to win.
        said: in a few words.
    """

    ok: bool | None
    said: str


def tried(run: Callable[[], Outcome]) -> Outcome:
    """What it finds; an error is an outcome, too."""
    try:
        return run()
    except Exception as error:  # noqa: BLE001  (whatever a peer raises is what is asked for)
        return Outcome(False, named(error))


def named(error: BaseException) -> str:
    """An error in a few words, fit for a cell of a table."""
    text = " ".join(str(error).split()).replace("|", "/")
    return f"{type(error).__name__}: {text[:60]}{'...' if len(text) > 60 else ''}"


def compared(got: Tensor, expected: Tensor, tolerance: float = SHOWN) -> Outcome:
    """Whether maps (N, *S) look like the expected ones, each stretched from 0 to 1."""
    if got.shape != expected.shape:
        return Outcome(False, f"shape {tuple(got.shape)}")
    off = float((stretched(got) - stretched(expected)).abs().max())
    return Outcome(off <= tolerance, "right" if off <= tolerance else f"wrong by {off:.2f} of 1")


def stretched(maps: Tensor) -> Tensor:
    """What raises the score, least value of each map at 0, largest at 1: what every peer gives."""
    flat = maps.detach().double().relu().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return torch.where(high > low, (flat - low) / (high - low), 0.0).view(maps.shape)
