"""Class activation maps of any score, latent units included: where does a network READ something?

One forward pass and one gradient, down to the layer and no further. Maps are signed and at the
layer's own size; ReLU, resizing and normalisation come after, on request.

| method | map, before the ReLU | source |
|---|---|---|
| grad-cam | sum_c mean(g) A | Selvaraju et al., ICCV 2017 (arXiv 1610.02391) |
| grad-cam++ | sum_c w A, w = sum relu(g) / (2 + g S) | Chattopadhay, WACV 2018 (1710.11063) |
| xgrad-cam | sum_c w A, w = sum(g A) / S | Fu et al., BMVC 2020 (2008.02312) |
| hires-cam | sum_c g A | Draelos and Carin, 2020 (2011.08891) |
| layer-cam | sum_c relu(g) A | Jiang et al., IEEE TIP 2021 (10.1109/TIP.2021.3089943) |

A are the activations, g the gradient of the score by them, S the sum of one channel of A. The
factor exp(score) of Grad-CAM++, one positive number per sample, is left out. Grad-CAM of latent
units: Liu et al., CVPR 2020 (arXiv 1911.07389).

Which one? Grad-CAM averages the gradient over space and with it loses which of several latent
directions a map belongs to; HiResCAM on an early layer keeps it (measure: `faithfulness`). Maps
without a gradient are in `activation_cams` (CAM, Eigen-CAM) and `forward_cams` (Score-CAM,
Ablation-CAM); the input and every bias at once in `fullgrad`.
"""

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from latentkit.explain.gradients import differentiate, slopes, values
from latentkit.explain.heatmap import Heatmap, name_of
from latentkit.explain.hooks import Call, watched
from latentkit.explain.weighing import Method as Method
from latentkit.explain.weighing import check_space, weigh
from latentkit.protocols import Score

_BATCHED = 2**24  # gradient elements held at once by `latent_cams`: 64 MB in single precision


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
        method: see above.
        call: which call of the layer, from 0, where one forward pass runs it several times.

    Returns:
        Signed maps (N, *S_layer) of the layer, with the size of their rounding errors.

    Raises:
        ValueError, TypeError: see `hooks.watched`; or a layer without space; or a score that is not
            (N,) or does not depend on the layer.
    """
    return cams(module, [layer], x, score, method, call)[0]


def cams(
    module: nn.Module,
    layers: Sequence[str | nn.Module],
    x: Tensor,
    score: Score,
    method: Method = "grad-cam",
    call: Call = None,
) -> tuple[Heatmap, ...]:
    """Maps of several layers from one forward pass and one gradient; arguments as in `cam`.

    Returns:
        One heatmap a layer, in the order asked for.

    Raises:
        ValueError, TypeError: as `cam` does.
    """
    _check_method(method)
    with watched(module, layers, x, call) as run:
        gradients = slopes(values(score, run.output, run.batch), run)
    found = zip(run.activations, gradients, run.layers, strict=True)
    return tuple(heatmap(a, g, layer, method, name_of(score)) for a, g, layer in found)


def latent_cams(
    module: nn.Module,
    layer: str | nn.Module,
    x: Tensor,
    method: Method = "grad-cam",
    call: int | None = None,
) -> Tensor:
    """Question READING: where does the encoder look to compute each latent unit?

    One forward pass and batched vector-Jacobian products for all K output units, in chunks of
    bounded memory.

    Args:
        module: maps x to (N, K), or (N, *Z), then K counts all coordinates.
        layer: dotted name or sub-module that gives (N, C, *S_layer).
        x: input (N, C, *S).
        method: see `cam`.
        call: see `cam`.

    Returns:
        Signed maps (N, K, *S_layer), float32.

    Raises:
        ValueError, TypeError: as `cam` does; or a module that returns something else.
    """
    _check_method(method)
    with watched(module, [layer], x, call) as run:
        if not isinstance(run.output, Tensor) or run.output.shape[:1] != (run.batch,):
            got = getattr(run.output, "shape", type(run.output).__name__)
            raise ValueError(f"expected the module to return latents ({run.batch}, K), got {got}")
        units, activation = run.output.reshape(run.batch, -1), run.activations[0]
        check_space(activation, run.layers[0])
        picks = torch.eye(units.shape[1], dtype=units.dtype, device=units.device)
        chunk = max(1, _BATCHED // max(1, activation.numel()))
        maps = []
        for rows in torch.split(picks, chunk):
            seeds = rows[:, None].expand(-1, run.batch, -1)
            gradients = differentiate(units, activation, run.layers[0], seeds)
            maps.append(weigh(activation, gradients, method)[0].float())
    return torch.cat(maps).movedim(0, 1).contiguous()


def heatmap(
    activation: Tensor, gradient: Tensor, layer: str, method: Method, score: str | None = None
) -> Heatmap:
    """Activation of a layer and gradient of a score by it, (N, C, *S) both -> the Heatmap.

    Raises:
        ValueError: an activation without space.
    """
    check_space(activation, layer)
    maps, noise = weigh(activation, gradient, method)
    return Heatmap(maps.float(), layer, method, noise.float(), score)


def _check_method(method: str) -> None:
    if method not in (known := get_args(Method)):
        raise ValueError(f"expected method {', '.join(map(repr, known))}, got {method!r}")
