"""Maps whose channel weights come from forward passes: no gradient, but as many passes as channels.

Score-CAM: Wang et al., CVPR Workshops 2020 (arXiv 1910.01279). Ablation-CAM: Desai and Ramaswamy,
WACV 2020. Passes are run many at a time by `torch.func.vmap`, which also runs only once, for all of
them, what lies before the ablated layer; networks that it cannot take (in-place sums with a
changed tensor, values read back by Python) run pass by pass, with the same result.
"""

import itertools
import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from latentkit.explain.heatmap import Heatmap, named, unit_range
from latentkit.explain.hooks import borrowed, normal, values, watched, works_in_place
from latentkit.explain.lookup import choose, find, substitute
from latentkit.explain.weighing import check_space, combine
from latentkit.metrics.saliency import resize
from latentkit.protocols import Score

_AT_ONCE = 2**22  # changed elements held at once: 16 MB in single precision


def score_cam(
    module: nn.Module,
    layer: str | nn.Module,
    x: Tensor,
    score: Score,
    call: int | None = None,
) -> Heatmap:
    """Score-CAM: a channel weighs what the score is when only its places are left of the input.

    Weights are the softmax over channels of score(x * norm(up(A_k))): up is linear interpolation to
    the input's size, norm takes the smallest value to 0 and the largest to 1. The score of a
    baseline, subtracted in the paper, is the same for every channel, so that the softmax does not
    see it. Weights are positive: the map of minus the score is not minus the map. A channel that is
    constant over space leaves nothing of the input.

    Args:
        module: the network; it comes back as it was, train flags included.
        layer: dotted name or sub-module that gives (N, C, *S_layer), of the input's rank.
        x: input (N, C, *S), where zero means nothing.
        score: the module's output -> (N,); see `scores`.
        call: which call of the layer, from 0, where one forward pass runs it several times.

    Raises:
        ValueError, TypeError: see `hooks.watched`; or a layer without space; or a score not (N,).
    """
    name, activation = _start(module, layer, x, score, call)

    def of_what_is_left(channel: Tensor) -> Tensor:
        mask = unit_range(resize(channel, x.shape[2:]))
        return values(score, module(x * mask[:, None].to(x.dtype)), len(x))

    with borrowed(module):
        x = normal(x)
        found = _each(of_what_is_left, activation.movedim(1, 0), x.numel()).T
    weights = found.softmax(1)
    maps, noise = combine(activation, weights, weights * found.abs())
    return Heatmap(maps.float(), name, "score-cam", noise.float(), named(score))


def ablation_cam(
    module: nn.Module,
    layer: str | nn.Module,
    x: Tensor,
    score: Score,
    call: int | None = None,
) -> Heatmap:
    """Ablation-CAM: a channel weighs how much the score falls when the channel is set to zero.

    Weights are y - y_k. The paper divides them by y, one number per sample, which is left out: it
    would turn the map around where the score is negative.

    Arguments and errors as in `score_cam`, but for the layer's rank and the meaning of zero.
    """
    name, activation = _start(module, layer, x, score, call)
    _, path, part = find(module, layer)
    channels = activation.shape[1]
    keep = ~torch.eye(channels, dtype=torch.bool, device=activation.device)
    column = (1, -1, *[1] * (activation.ndim - 2))
    thread = threading.get_ident()

    def without(kept: Tensor) -> Tensor:
        calls = itertools.count()

        def silence(layer: nn.Module, inputs: tuple[object, ...], output: object) -> object:
            if threading.get_ident() != thread or next(calls) != (call or 0):
                return None
            given = choose(output, path, name)
            left = torch.where(kept.view(column), given, 0.0)
            if works_in_place(layer, inputs, given):  # its memory may live on under other names
                given.copy_(left)
                return None
            return substitute(output, given, left)

        with part.register_forward_hook(silence):
            return values(score, module(x.clone()), len(x))

    with borrowed(module):
        x = normal(x)
        # The first row keeps everything: its score is taken in the same way as the others.
        rows = torch.cat([torch.ones_like(keep[:1]), keep])
        found = _each(without, rows, activation.numel())
    weights = (found[:1] - found[1:]).T
    maps, noise = combine(activation, weights, found[:1].T.abs().expand_as(weights))
    return Heatmap(maps.float(), name, "ablation-cam", noise.float(), named(score))


def _start(
    module: nn.Module, layer: str | nn.Module, x: Tensor, score: Score, call: int | None
) -> tuple[str, Tensor]:
    """The layer's name and what it gives, once all that can be wrong has been looked at."""
    with watched(module, [layer], x, call) as run:
        check_space(run.activations[0], run.layers[0])
        values(score, run.output, run.batch)
        return run.layers[0], run.activations[0].detach()


def _each(function: Callable[[Tensor], Tensor], rows: Tensor, size: int) -> Tensor:
    """Function of each row, stacked, at least float32; many rows, of `size` elements, at a time."""
    # The last one runs by itself: a module that remembers its last output must not be left with a
    # tensor that is valid under vmap only.
    most, last = rows[:-1], rows[-1]
    head = _many(function, most, max(1, _AT_ONCE // max(1, size))) if len(most) else []
    found = torch.stack([*head, function(last)])
    return found.to(torch.promote_types(found.dtype, torch.float32))


def _many(function: Callable[[Tensor], Tensor], rows: Tensor, chunk: int) -> Sequence[Tensor]:
    try:
        return tuple(torch.func.vmap(function, chunk_size=chunk)(rows))
    except RuntimeError:  # not for vmap; if the network itself is at fault, it fails here again
        return [function(row) for row in rows]
