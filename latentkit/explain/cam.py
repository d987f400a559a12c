"""Class activation maps of any score, latent units included: where does a network READ something?

Grad-CAM: Selvaraju et al., ICCV 2017 (arXiv 1610.02391). HiResCAM: Draelos and Carin, 2020
(arXiv 2011.08891). Grad-CAM of latent units: Liu et al., CVPR 2020 (arXiv 1911.07389). Maps are
signed and at the layer's own size; ReLU, resizing and normalisation come after, on request.

Which one? Grad-CAM averages the gradient over space and with it loses which of several latent
directions a map belongs to; HiResCAM on an early layer keeps it (measure: `faithfulness`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentkit.explain.hooks import differentiate, values, watched
from latentkit.protocols import Score

Method: TypeAlias = Literal["grad-cam", "hires-cam"]

_BATCHED = 2**24  # gradient elements held at once by `latent_cams`: 64 MB in single precision
_MODES = ("linear", "bilinear", "trilinear")


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Signed maps of one layer, with what is needed to judge them.

    Attributes:
        raw: (N, *S_layer) float32; positive where the layer raises the score.
        layer: dotted name of the layer.
        method: how the map was made.
        noise: (N,), the size of rounding errors in `raw`: smaller values mean nothing.
    """

    raw: Tensor
    layer: str
    method: Method
    noise: Tensor

    @property
    def degenerate(self) -> Tensor:
        """(N,) bool: nothing to see, since the map is zero, constant over space or not finite."""
        flat = self.raw.flatten(1)
        spread = flat.amax(1) - flat.amin(1)
        return ~(spread > self.noise)  # "not larger" also catches nan

    def relu(self) -> "Heatmap":
        """Only what raises the score."""
        return replace(self, raw=self.raw.relu())

    def resized(self, size: Sequence[int]) -> "Heatmap":
        """Linearly interpolated to (N, *size)."""
        return replace(self, raw=resize(self.raw, size))

    def normalised(self, per: Literal["image", "batch"] = "image") -> Tensor:
        """|raw| / its largest value, (N, *S) in [0, 1], for drawing; of the ReLU after `relu()`.

        Degenerate maps become zero, so that noise is never blown up into a picture.

        Args:
            per: each image by its own largest value, or the batch by one, to compare images.
        """
        if per not in ("image", "batch"):
            raise ValueError(f"expected per to be 'image' or 'batch', got {per!r}")
        column = (-1, *[1] * (self.raw.ndim - 1))
        size = self.raw.abs().masked_fill(self.degenerate.view(column), 0.0)
        top = size.flatten(1).amax(1).view(column) if per == "image" else size.max()
        return size / top.clamp_min(torch.finfo(size.dtype).tiny)


def cam(
    module: nn.Module,
    layer: str | nn.Module,
    x: Tensor,
    score: Score,
    method: Method = "grad-cam",
    call: int | None = None,
) -> Heatmap:
    """Question READING: where does the module look to compute the score?

    Args:
        module: the network; it comes back as it was, train flags included.
        layer: dotted name or sub-module that gives (N, C, *S_layer).
        x: input (N, C, *S).
        score: the module's output -> (N,); see `scores`.
        method: "grad-cam" or "hires-cam".
        call: which call of the layer, from 0, where one forward pass runs it several times.

    Raises:
        ValueError, TypeError: see `hooks.watched`; or a layer without space; or a score that is not
            (N,) or does not depend on the layer.
    """
    with watched(module, [layer], x, call) as run:
        score_values = values(score, run.output, run.batch)
        slope = differentiate(score_values, run.activations[0], run.layers[0])
    return heatmap(run.activations[0], slope, run.layers[0], method)


def latent_cams(
    module: nn.Module, layer: str | nn.Module, x: Tensor, method: Method = "grad-cam"
) -> Tensor:
    """Question READING: where does the encoder look to compute each latent unit?

    One forward pass and batched vector-Jacobian products for all K output units, in chunks of
    bounded memory.

    Args:
        module: maps x to (N, K), or (N, *Z), then K counts all coordinates.
        layer: dotted name or sub-module that gives (N, C, *S_layer).
        x: input (N, C, *S).
        method: "grad-cam" or "hires-cam".

    Returns:
        Signed maps (N, K, *S_layer), float32.
    """
    with watched(module, [layer], x) as run:
        if not isinstance(run.output, Tensor) or run.output.shape[:1] != (run.batch,):
            got = getattr(run.output, "shape", type(run.output).__name__)
            raise ValueError(f"expected the module to return latents ({run.batch}, K), got {got}")
        units, activation = run.output.reshape(run.batch, -1), run.activations[0]
        picks = torch.eye(units.shape[1], dtype=units.dtype, device=units.device)
        chunk = max(1, _BATCHED // max(1, activation.numel()))
        maps = []
        for rows in torch.split(picks, chunk):
            seeds = rows[:, None].expand(-1, run.batch, -1)
            slopes = differentiate(units, activation, run.layers[0], seeds)
            maps += [heatmap(activation, slope, run.layers[0], method).raw for slope in slopes]
    return torch.stack(maps, 1)


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """(N, C, *S), both -> sum_c mean(gradient_c) activation_c, (N, *S), signed."""
    return _terms(activation, gradient, "grad-cam").sum(1)


def hires_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """(N, C, *S), both -> sum_c gradient_c activation_c, (N, *S), signed."""
    return _terms(activation, gradient, "hires-cam").sum(1)


def heatmap(activation: Tensor, gradient: Tensor, layer: str, method: Method) -> Heatmap:
    """Activation and gradient of a layer (N, C, *S) -> its Heatmap."""
    if activation.ndim < 3:
        raise ValueError(
            f"expected layer {layer!r} to return (N, C, *S), got {tuple(activation.shape)};"
            " choose one that still has space, such as a convolution"
        )
    terms = _terms(activation, gradient, method)
    # What cancels in the sum over channels leaves rounding errors of about this size.
    gross = terms.abs().sum(1).flatten(1).amax(1)
    noise = 2 * torch.finfo(activation.dtype).eps * gross
    return Heatmap(terms.sum(1).float(), layer, method, noise.float())


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (N, *S) in one to three dimensions -> (N, *size), by linear interpolation."""
    rank = maps.ndim - 1
    if len(size) != rank or not 1 <= rank <= 3:
        raise ValueError(
            f"expected a size with one number for each of the {rank} dimensions of maps"
            f" {tuple(maps.shape)}, one to three, got {tuple(size)}"
        )
    mode = _MODES[rank - 1]
    return functional.interpolate(maps[:, None], tuple(size), mode=mode, align_corners=False)[:, 0]


def _terms(activation: Tensor, gradient: Tensor, method: Method) -> Tensor:
    wide = torch.promote_types(activation.dtype, torch.float32)
    a, g = activation.detach().to(wide), gradient.detach().to(wide)
    if method == "hires-cam":
        return g * a
    if method == "grad-cam":
        return g.mean(tuple(range(2, g.ndim)), keepdim=True) * a
    raise ValueError(f"expected method 'grad-cam' or 'hires-cam', got {method!r}")
