"""Which inputs move a score? Maps in the space of the input, from its gradient.

All give signed (N, C, *S): positive where more of that input raises the score. Saliency: Simonyan
et al., ICLR 2014 workshop (arXiv 1312.6034). SmoothGrad: Smilkov et al., 2017 (arXiv 1706.03825).
Integrated gradients: Sundararajan et al., ICML 2017 (arXiv 1703.01365).

Methods that need many gradients take them in passes of bounded size; a score always sees the batch
as it was given, so that it may hold something for each image.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from latentkit.explain.gradients import differentiate, values
from latentkit.explain.hooks import borrowed, normal
from latentkit.protocols import Score

Attribute: TypeAlias = Callable[[nn.Module, Tensor, Score], Tensor]
"""Module, inputs (N, C, *S) and score -> signed maps (N, C, *S)."""


def saliency(module: nn.Module, x: Tensor, score: Score) -> Tensor:
    """The gradient of the score.

    Args:
        module: the network; it comes back as it was, train flags included.
        x: input (N, C, *S), floating point.
        score: the module's output -> (N,); see `scores`.

    Returns:
        Signed (N, C, *S). The paper draws `.abs().amax(1)`.

    Raises:
        ValueError: a score that is not (N,) or does not depend on x.
        TypeError: an x that has no gradient.
    """
    with borrowed(module):
        return differentiate(*record(module, x[None], score), INPUT)[0]


def input_x_gradient(module: nn.Module, x: Tensor, score: Score) -> Tensor:
    """Input times gradient: for a linear score without bias it adds up to the score.

    Arguments as in `saliency`. A shift of the input that the first bias takes back changes this
    map; see `robustness.input_shift`.

    Returns:
        Signed (N, C, *S).
    """
    return normal(x) * saliency(module, x, score)


def smoothgrad(
    module: nn.Module,
    x: Tensor,
    score: Score,
    noise: float = 0.15,
    samples: int = 25,
    seed: int = 0,
    method: Attribute = saliency,
) -> Tensor:
    """The mean map of noisy copies of the input.

    The noise of one pass is the same for every image, apart from its scale, so that the map of an
    image does not depend on its neighbours in the batch. The global random state is not touched.

    Args:
        module: the network.
        x: input (N, C, *S).
        score: the module's output -> (N,).
        noise: standard deviation as a share of each image's own range, largest minus smallest
            value; 0.1 to 0.2 in the paper.
        samples: noisy copies.
        seed: of the noise.
        method: what is averaged; `saliency` in the paper.

    Returns:
        Signed (N, C, *S).

    Raises:
        ValueError: samples below 1, negative noise, or as `method` does.
        TypeError: an x that is not floating point.
    """
    if samples < 1 or not noise >= 0:
        raise ValueError(f"expected samples >= 1 and noise >= 0, got {samples} and {noise}")
    x, generator = _own(x), torch.Generator().manual_seed(seed)
    flat = x.flatten(1)
    scale = noise * (flat.amax(1) - flat.amin(1)).view(-1, *[1] * (x.ndim - 1))
    total = torch.zeros_like(x)
    for _ in range(samples):
        # Drawn on the CPU: the same numbers on every device.
        total += method(
            module, x + scale * torch.randn(x.shape[1:], generator=generator).to(x), score
        )
    return total / samples


def integrated_gradients(
    module: nn.Module,
    x: Tensor,
    score: Score,
    baseline: Tensor | float = 0.0,
    steps: int = 32,
    rule: Literal["gauss-legendre", "midpoint"] = "gauss-legendre",
) -> Tensor:
    """The way from a baseline to the input, times the mean gradient along it.

    Args:
        module: the network.
        x: end of the way, (N, C, *S).
        score: the module's output -> (N,).
        baseline: its start, a number or a tensor that broadcasts to x, such as another image.
        steps: points on the straight line, one gradient each. Where the score is smooth 32 are
            plenty; kinks (ReLU) want more: `directions.completeness_error` measures it.
        rule: where they lie: "gauss-legendre", exact for smooth scores, or "midpoint".

    Returns:
        Signed (N, C, *S). The sum over all but N is score(x) - score(baseline), up to the error of
        the quadrature.

    Raises:
        ValueError: no step, an unknown rule, a baseline that does not fit, or as `saliency` does.
        TypeError: an x that is not floating point.
    """
    points, weights = _nodes(steps, rule)
    with borrowed(module):
        x, start = _own(x), normal(torch.as_tensor(baseline, dtype=x.dtype, device=x.device))
        way = x - fitting(start, x, "baseline")
        mean, column = torch.zeros_like(x), (-1, *[1] * x.ndim)
        size = together(module, x)
        for point, weight in zip(
            torch.split(points, size), torch.split(weights, size), strict=True
        ):
            copies = start + point.to(x).view(column) * way
            slopes = differentiate(*record(module, copies, score), INPUT)
            mean += (weight.to(x).view(column) * slopes).sum(0)
        return way * mean


INPUT = "(the input)"
"""What errors call the input where they would name a layer."""


def record(module: nn.Module, copies: Tensor, score: Score) -> tuple[Tensor, Tensor]:
    """Run the module, inside `hooks.borrowed`, and record how the score depends on the input.

    Args:
        module: the network.
        copies: (B, N, C, *S), B versions of a batch.
        score: the module's output for one version -> (N,).

    Returns:
        Values (B N,) and the leaf (B, N, C, *S) they depend on, a tensor of its own.

    Raises:
        ValueError: a score that is not (N,).
        TypeError: copies that are not floating point.
    """
    leaf = _own(copies).requires_grad_()
    with torch.enable_grad():
        return run(module, leaf, score).flatten(), leaf


def run(module: nn.Module, copies: Tensor, score: Score) -> Tensor:
    """Scores (B, N) of B versions of a batch, (B, N, C, *S), in one pass.

    Raises:
        ValueError: a score that is not (N,).
    """
    versions, size = copies.shape[:2]
    # A copy goes in: the first layer may work in place.
    output = module(copies.flatten(0, 1).clone())
    parts = output.split(size) if versions > 1 else [output]
    return torch.stack([values(score, part, size) for part in parts])


def together(module: nn.Module, x: Tensor, batch: int = 64) -> int:
    """How many versions of a batch `run` may take: one, if what the module gives has no rows.

    Args:
        module: the network.
        x: (N, C, *S).
        batch: images in one pass, at most, where N is smaller.
    """
    return max(1, batch // max(1, len(x))) if isinstance(module(x[:1].clone()), Tensor) else 1


def fitting(given: Tensor, x: Tensor, what: str) -> Tensor:
    """What is given, a baseline or the like, for every value of x, or a ValueError by its name.

    Args:
        given: what is to broadcast.
        x: (N, C, *S).
        what: its name, for the error.

    Returns:
        (N, C, *S).
    """
    try:
        return given.expand_as(x)
    except RuntimeError:
        raise ValueError(
            f"expected a {what} that broadcasts to x {tuple(x.shape)}, got {tuple(given.shape)}"
        ) from None


def _own(x: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise TypeError(f"expected a floating-point input, got {x.dtype}; convert it first")
    return normal(x)


def _nodes(steps: int, rule: str) -> tuple[Tensor, Tensor]:
    """Where on [0, 1] to look, and with what weights; these sum to 1."""
    if steps < 1:
        raise ValueError(f"expected at least one step, got {steps}")
    if rule == "midpoint":
        points, weights = (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
    elif rule == "gauss-legendre":
        wide, heavy = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
        points, weights = (wide + 1) / 2, heavy / 2
    else:
        raise ValueError(f"expected rule 'gauss-legendre' or 'midpoint', got {rule!r}")
    return torch.from_numpy(points), torch.from_numpy(weights)
