"""How a score depends on what a network computed, inside `hooks.watched` or `hooks.borrowed`."""

import torch
from torch import Tensor

from latentkit.explain.hooks import Run
from latentkit.protocols import Score


def values(score: Score, output: Tensor, batch: int) -> Tensor:
    """Apply a score -> (N,), or say what is wrong with it.

    Args:
        score: the module's output -> (N,).
        output: what the module returned.
        batch: N.

    Raises:
        TypeError: the score returns no tensor.
        ValueError: it is not (N,).
    """
    value = score(output)
    if not isinstance(value, Tensor):
        raise TypeError(
            f"expected the score to return a tensor ({batch},), got {type(value).__name__}"
        )
    if value.shape != (batch,):
        raise ValueError(
            f"score must return one value per sample, shape ({batch},), got {tuple(value.shape)}"
        )
    return value


def differentiate(
    target: Tensor, activation: Tensor, layer: str, seeds: Tensor | None = None
) -> Tensor:
    """Derivative of target by activation, by `autograd.grad`: no parameter's `.grad` is touched.

    Args:
        target: (N,) or, with seeds, any shape.
        activation: a tensor the target was computed from.
        layer: its name, for the error.
        seeds: (k, *target.shape) asks for k vector-Jacobian products in one batched pass, and keeps
            the graph for more.

    Returns:
        The shape of the activation, after a leading k with seeds.

    Raises:
        ValueError: the target does not depend on the activation, or a reentrant checkpoint lies
            between.
    """
    return _gradients(target, (activation,), (layer,), seeds)[0]


def slopes(target: Tensor, run: Run, seeds: Tensor | None = None) -> tuple[Tensor, ...]:
    """`differentiate` by every activation of a run in one backward pass, in the order of the run.

    The derivative by an early layer includes what goes through later ones.

    Args:
        target: see `differentiate`.
        run: the watched pass that the target was computed in.
        seeds: see `differentiate`.

    Returns:
        The shape of each activation, after a leading k with seeds.

    Raises:
        ValueError: as `differentiate` does.
    """
    return _gradients(target, run.activations, run.layers, seeds)


def _gradients(
    target: Tensor, by: tuple[Tensor, ...], layers: tuple[str, ...], seeds: Tensor | None
) -> tuple[Tensor, ...]:
    found: tuple[Tensor | None, ...] = (None,) * len(by)
    if target.requires_grad:
        weights = torch.ones_like(target) if seeds is None else seeds
        batched = seeds is not None
        try:
            found = torch.autograd.grad(
                target, by, weights, batched, is_grads_batched=batched, allow_unused=True
            )
        except RuntimeError as error:
            if "use_reentrant" not in str(error):
                raise
            raise ValueError(
                f"expected derivatives by layer {layers[0]!r} to be possible, got a reentrant"
                " checkpoint behind it; give torch.utils.checkpoint use_reentrant=False"
            ) from error
    got = []
    for gradient, layer in zip(found, layers, strict=True):
        if gradient is None:
            raise ValueError(
                f"expected a score that depends on layer {layer!r}, got one that does not; the"
                " layer may come after what is scored, or the path may pass a no_grad or"
                " inference_mode block, a detach or a reentrant checkpoint (use_reentrant=False"
                " works)"
            )
        got.append(gradient)
    return tuple(got)
