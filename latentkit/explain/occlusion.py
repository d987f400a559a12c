"""What does the score lose when a part of the input is hidden?

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014 (arXiv
1311.2901). No gradient is taken, so that it also holds for what has none.
"""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from latentkit.explain.attribution import fitting, run, together
from latentkit.explain.hooks import borrowed, normal
from latentkit.protocols import Score

_Window = tuple[slice, ...]


def occlusion(
    module: nn.Module,
    x: Tensor,
    score: Score,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    fill: Tensor | float = 0.0,
    batch: int = 64,
) -> Tensor:
    """Slide a window over the input and see what the score loses where it hides all channels.

    Args:
        module: the network; it comes back as it was, train flags included.
        x: input (N, C, *S), any rank.
        score: the module's output -> (N,).
        window: its size, one number or one for each dimension of *S; at most *S.
        stride: steps of the window; half of its size if not given. The last step of a dimension is
            shorter where it would leave the input.
        fill: what is seen in the window, a number or a tensor that broadcasts to x.
        batch: images in one pass. A module that returns no tensor is run window by window.

    Returns:
        Signed (N, 1, *S), one map for all channels, since they are hidden together: the mean of
        score(x) - score(hidden) over the windows that cover a place.

    Raises:
        ValueError: a window or stride that does not fit the input, a fill that does not broadcast
            to x, or a score that is not (N,).
    """
    windows = _windows(x.shape[2:], window, stride)
    with borrowed(module):
        x = normal(x)
        filling = fitting(torch.as_tensor(fill, dtype=x.dtype, device=x.device), x, "fill")
        before = run(module, x[None], score)
        size = together(module, x, batch)
        total, count = x.new_zeros(len(x), *x.shape[2:]), x.new_zeros(x.shape[2:])
        while group := list(itertools.islice(windows, size)):
            hidden = torch.zeros(len(group), *x.shape[2:], dtype=torch.bool, device=x.device)
            for mask, where in zip(hidden, group, strict=True):
                mask[where] = True
            after = run(module, torch.where(hidden[:, None, None], filling, x), score)
            total += torch.tensordot((before - after).T.to(x), hidden.to(x), dims=1)
            count += hidden.sum(0)
    return (total / count)[:, None]


def _windows(
    size: Sequence[int], window: int | Sequence[int], stride: int | Sequence[int] | None
) -> Iterator[_Window]:
    """Every position of the window, in order."""
    wide = _each(window, size, "window")
    step = [max(1, w // 2) for w in wide] if stride is None else _each(stride, size, "stride")
    if any(w > s for w, s in zip(wide, size, strict=True)):
        raise ValueError(f"expected a window inside the input {tuple(size)}, got {tuple(wide)}")
    starts = [
        sorted({*range(0, s - w, d), s - w}) for s, w, d in zip(size, wide, step, strict=True)
    ]
    for corner in itertools.product(*starts):
        yield tuple(slice(a, a + w) for a, w in zip(corner, wide, strict=True))


def _each(given: int | Sequence[int], size: Sequence[int], what: str) -> list[int]:
    numbers = [given] * len(size) if isinstance(given, int) else list(given)
    if len(numbers) != len(size) or min(numbers, default=1) < 1:
        raise ValueError(
            f"expected a {what} of one positive number, or one for each of the {len(size)}"
            f" dimensions of the input {tuple(size)}, got {given}"
        )
    return numbers
