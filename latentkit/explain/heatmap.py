"""What every explanation of a network gives back: signed maps, and what is needed to judge them.

Maps are kept signed and at the layer's own size. ReLU, resizing and normalisation come after, on
request, and each gives something new: the raw map is never lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from latentkit.metrics.saliency import resize
from latentkit.store.files import atomic


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Signed maps of one layer.

    Attributes:
        raw: (N, *S_layer) float32; positive where the layer raises the score.
        layer: dotted name of the layer.
        method: how the map was made.
        noise: (N,), the size of rounding errors in `raw`: smaller values mean nothing.
        score: the name of what was explained, where it has one; see `name_of`.
    """

    raw: Tensor
    layer: str
    method: str
    noise: Tensor
    score: str | None = None

    def __post_init__(self) -> None:
        """Refuses maps none of which can be looked at.

        Raises:
            ValueError: every map holds values that are not finite.
        """
        if len(self.raw) and not self.raw.isfinite().flatten(1).all(1).any():
            raise ValueError(
                f"expected finite maps of {self.score or 'the score'} at layer {self.layer!r}, got"
                " nan or infinity in every one: look for them in the weights and in the images"
            )

    @property
    def degenerate(self) -> Tensor:
        """(N,) bool: nothing to see, since the map is zero, constant over space or not finite."""
        flat = self.raw.flatten(1)
        spread = flat.amax(1) - flat.amin(1)
        rounding = torch.finfo(flat.dtype).eps * flat.abs().amax(1)
        # "Not larger" also catches nan.
        return ~((spread > self.noise) & (spread > rounding) & spread.isfinite())

    def relu(self) -> "Heatmap":
        """Only what raises the score."""
        return replace(self, raw=self.raw.relu())

    def resized(self, size: Sequence[int]) -> "Heatmap":
        """Linearly interpolated to (N, *size)."""
        return replace(self, raw=resize(self.raw, size))

    def limits(self, per: Literal["image", "batch"] = "image") -> Tensor:
        """Largest |raw|, (N,): the end of the colour bar of each image; 0 where degenerate.

        Args:
            per: each image by itself, or one limit for the batch, to compare images.

        Raises:
            ValueError: per is neither 'image' nor 'batch'.
        """
        if per not in ("image", "batch"):
            raise ValueError(f"expected per to be 'image' or 'batch', got {per!r}")
        top = self.raw.abs().flatten(1).amax(1).masked_fill(self.degenerate, 0.0)
        return top if per == "image" else top.amax().expand_as(top)

    def signed(self, per: Literal["image", "batch"] = "image") -> Tensor:
        """Raw / its limit, (N, *S) in [-1, 1], for drawing in colours that diverge from zero.

        Degenerate maps become zero, so that noise is never blown up into a picture.

        Args:
            per: see `limits`.
        """
        column = (-1, *[1] * (self.raw.ndim - 1))
        clean = self.raw.masked_fill(self.degenerate.view(column), 0.0)
        top = self.limits(per).clamp_min(torch.finfo(clean.dtype).tiny)
        return clean / top.view(column)

    def normalised(self, per: Literal["image", "batch"] = "image") -> Tensor:
        """|raw| / its limit, (N, *S) in [0, 1], for drawing; of the ReLU after `relu()`.

        Args:
            per: see `limits`.
        """
        return self.signed(per).abs()

    def numpy(self) -> npt.NDArray[np.float32]:
        """The raw maps, (N, *S)."""
        return self.raw.cpu().numpy()

    def save(self, path: str | Path) -> None:
        """Write all of it to an .npz file, whole or not at all.

        Keys: raw, noise, degenerate (arrays), layer, method, score (texts; "" without a name).

        Args:
            path: of the file, which ends in .npz.

        Raises:
            ValueError: another ending.
        """
        if Path(path).suffix != ".npz":
            raise ValueError(f"expected the name of an .npz file, got {str(path)!r}")
        with atomic(path) as temporary:
            np.savez_compressed(
                temporary,
                raw=self.numpy(),
                noise=self.noise.cpu().numpy(),
                degenerate=self.degenerate.cpu().numpy(),
                layer=self.layer,
                method=self.method,
                score=self.score or "",
            )


def name_of(score: object) -> str | None:
    """The name of a score, for a heatmap's label; None for lambdas and other local functions.

    A function made by another has a name of its own once it is given one: `score.__qualname__ =
    "unit(3)"`.

    Args:
        score: anything; what is called counts, such as a function.
    """
    name = getattr(score, "__qualname__", None)
    return name if isinstance(name, str) and "<" not in name else None


def unit_range(maps: Tensor) -> Tensor:
    """Maps (N, ...), smallest value of each to 0, largest to 1; 0 where constant, but for rounding.

    For methods that are made of it. Never for drawing: there it would blow up noise and move zero.
    """
    axes = tuple(range(1, maps.ndim))
    low, high = maps.amin(axes, keepdim=True), maps.amax(axes, keepdim=True)
    rounding = 4 * torch.finfo(maps.dtype).eps * torch.maximum(low.abs(), high.abs())
    flat = high - low <= rounding
    return ((maps - low) / (high - low).masked_fill(flat, 1.0)).masked_fill(flat, 0.0)
