"""Maps whose channel weights come from forward passes: no gradient, but as many passes as channels.

Score-CAM: Wang et al., CVPR Workshops 2020 (arXiv 1910.01279). Ablation-CAM: Desai and Ramaswamy,
WACV 2020. Passes are run many at a time by `torch.func.vmap`, which also runs only once, for all of
them, what lies before the ablated layer; networks that it cannot take (in-place sums with a
changed tensor, values read back by Python) run pass by pass, with the same result.
"""

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from latentkit.explain.gradients import values
from latentkit.explain.heatmap import Heatmap, name_of, unit_range
from latentkit.explain.hooks import borrowed, normal, watched, works_in_place
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

    Returns:
        Signed maps (N, *S_layer) of the layer, with the size of their rounding errors.

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
    return Heatmap(maps.float(), name, "score-cam", noise.float(), name_of(score))


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

    Arguments and errors as in `score_cam`, but for the layer's rank and the meaning of zero; and a
    score that does not depend on what the layer returns is an error.
    """
    name, activation = _start(module, layer, x, score, call)
    channels = activation.shape[1]
    keep = ~torch.eye(channels, dtype=torch.bool, device=activation.device)
    column = (1, -1, *[1] * (activation.ndim - 2))
    with borrowed(module):
        swapped = _Swapped(module, name, normal(x), score, call or 0)
        write = swapped.lives_on()

        def without(kept: Tensor) -> Tensor:
            return swapped(lambda given: torch.where(kept.view(column), given, 0.0), write)

        # The first row keeps everything: its score is taken in the same way as the others.
        rows = torch.cat([torch.ones_like(keep[:1]), keep])
        found = _each(without, rows, activation.numel())
        if not write and (found == found[:1]).all():
            swapped.check_use()
    weights = (found[:1] - found[1:]).T
    maps, noise = combine(activation, weights, found[:1].T.abs().expand_as(weights))
    return Heatmap(maps.float(), name, "ablation-cam", noise.float(), name_of(score))


@dataclass(frozen=True)
class _Swapped:
    """The scores of a network while one of its layers returns something else."""

    module: nn.Module
    layer: str
    x: Tensor
    score: Score
    call: int

    def __call__(self, change: Callable[[Tensor], Tensor], write: bool = False) -> Tensor:
        """Scores (N,); to `write` is to let an in-place layer change what it was given as well."""
        name, path, part = find(self.module, self.layer)
        thread, calls = threading.get_ident(), itertools.count()

        def swap(layer: nn.Module, inputs: tuple[object, ...], output: object) -> object:
            if threading.get_ident() != thread or next(calls) != self.call:
                return None
            given = choose(output, path, name)
            left = change(given)
            if write and works_in_place(layer, inputs, given):
                given.copy_(left)
                return None
            return substitute(output, given, left)

        with part.register_forward_hook(swap):
            # A copy goes in: the first layer may work in place.
            return values(self.score, self.module(self.x.clone()), len(self.x))

    def lives_on(self) -> bool:
        """Whether the memory of an in-place layer is read under other names than what it returns.

        Then each change has to be written there, which passes run many at a time cannot do.
        """
        _, _, part = find(self.module, self.layer)

        def spoilt(given: Tensor) -> Tensor:
            left = given.clone()
            if not self._lasting(given):
                given.fill_(torch.nan)
            return left

        return bool(getattr(part, "inplace", False)) and self._matters(spoilt)

    def _lasting(self, given: Tensor) -> bool:
        """Whether memory is the network's own, as that of a parameter, or lies over itself."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        own = {one.untyped_storage().data_ptr() for one in tensors}
        folded = any(
            step == 0 and size > 1 for step, size in zip(given.stride(), given.shape, strict=True)
        )
        return folded or given.untyped_storage().data_ptr() in own

    def check_use(self) -> None:
        """Whether the score depends on what the layer returns, or a ValueError.

        Not a number goes through a multiplication by zero, and the infinities through a rectifier
        written as a comparison, which is all that lies behind a layer whose channels are dead.
        """
        extremes = (torch.nan, torch.inf, -torch.inf)
        if not any(self._matters(partial(torch.full_like, fill_value=v)) for v in extremes):
            raise ValueError(
                f"expected a score that depends on what layer {self.layer!r} returns, got one that"
                " does not; the layer may come after what is scored, or work in place with what it"
                " returns left aside: choose the layer before or after it"
            )

    def _matters(self, change: Callable[[Tensor], Tensor]) -> bool:
        return not torch.allclose(self(change), self(torch.clone), 0.0, 0.0, equal_nan=True)


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
