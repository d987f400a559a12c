"""How each gradient method weighs the activations of a layer: the formulas, and their rounding.

A are the activations, g the gradient of the score by them, T the number of places, S the sum of one
channel of A over space. Formulas broadcast over a leading axis of gradients (many scores, one
activation), work in single precision at least, and hold at most two temporaries of the gradient's
size.
"""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

Method: TypeAlias = Literal["grad-cam", "grad-cam++", "xgrad-cam", "hires-cam", "layer-cam"]

_FLOOR = 1e-3  # denominators are kept this far from zero, on the scale of what they are made of
_ROUNDINGS = 4  # errors of activations and gradients, in units of their precision


def weigh(activation: Tensor, gradient: Tensor, method: Method) -> tuple[Tensor, Tensor]:
    """Activation (N, C, *S) and its gradient (*K, N, C, *S) -> signed maps and their noise.

    Returns:
        (*K, N, *S), and (*K, N), the size of rounding errors in it; both at least float32.
    """
    a, g = (_flat(tensor, activation.ndim - 2) for tensor in (activation, gradient))
    # Matrix products would fall to half precision under the caller's autocast.
    with torch.autocast(a.device.type, enabled=False):
        if method in ("hires-cam", "layer-cam"):
            maps, size = _place_by_place(a, g, only_raising=method == "layer-cam")
        else:
            maps, size = _channel_by_channel(a, *_weights(a, g, method))
    return _in_shape(activation, maps, size)


def combine(activation: Tensor, weights: Tensor, doubt: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over channels of weight times activation, signed.

    Args:
        activation: (N, C, *S).
        weights: (N, C).
        doubt: (N, C), the size of what cancelled in the weights: their rounding errors are larger.

    Returns:
        Maps (N, *S), and (N,), the size of rounding errors in it; both at least float32.
    """
    a = _flat(activation, activation.ndim - 2)
    with torch.autocast(a.device.type, enabled=False):
        maps, size = _channel_by_channel(a, weights.to(a.dtype), doubt.to(a.dtype))
    return _in_shape(activation, maps, size)


def check_space(activation: Tensor, layer: str) -> None:
    """Raise a ValueError unless a layer gave (N, C, *S)."""
    if activation.ndim < 3:
        raise ValueError(
            f"expected layer {layer!r} to return (N, C, *S), got {tuple(activation.shape)};"
            " choose one that still has space, such as a convolution"
        )


def _in_shape(activation: Tensor, maps: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    inside = torch.finfo(activation.dtype).eps
    adding = activation.shape[1] ** 0.5 * torch.finfo(maps.dtype).eps
    shape = (*maps.shape[:-1], *activation.shape[2:])
    return maps.reshape(shape), (_ROUNDINGS * inside + adding) * size


def _flat(tensor: Tensor, rank: int) -> Tensor:
    wide = torch.promote_types(tensor.dtype, torch.float32)
    return tensor.detach().to(wide).flatten(-rank)


def _place_by_place(a: Tensor, g: Tensor, *, only_raising: bool) -> tuple[Tensor, Tensor]:
    """HiResCAM sum_c g A; LayerCAM sum_c relu(g) A."""
    terms = g.relu().mul_(a) if only_raising else g * a
    size = torch.linalg.vector_norm(terms, dim=-2).amax(-1)
    return terms.sum(-2), size


def _channel_by_channel(a: Tensor, weights: Tensor, doubt: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (*K, N, C), and the size of what cancelled in them -> sum_c w A."""
    height = torch.linalg.vector_norm(a, torch.inf, dim=-1)
    size = torch.linalg.vector_norm((weights.abs() + doubt) * height, dim=-1)
    return torch.einsum("...nc,nct->...nt", weights, a), size


def _weights(a: Tensor, g: Tensor, method: Method) -> tuple[Tensor, Tensor]:
    if method == "grad-cam":
        return g.mean(-1), g.abs().mean(-1)
    if method == "grad-cam++":
        weights = _second_order(a, g)
        return weights, torch.zeros_like(weights)
    return _centre_of_activation(a, g)


def _second_order(a: Tensor, g: Tensor) -> Tensor:
    """Grad-CAM++: sum over places of relu(g) / (2 + g S).

    Exactly g^2 / (2 g^2 + S g^3) relu(g), without the powers that underflow, hence also for scores
    of any scale. Where S >= 0, as after a ReLU, the denominator is at least 2; elsewhere it has a
    pole at g = -2 / S, and is kept `_FLOOR` away from zero on the side where it is.
    """
    rising = g.relu()
    sums = a.sum(-1, keepdim=True)
    under = (rising * sums).add_(2)
    if bool((sums < 0).any()):
        under = torch.copysign(under.abs().clamp_min_(_FLOOR), under)
    return rising.div_(under).sum(-1)


def _centre_of_activation(a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """XGrad-CAM: the mean of g weighed by A, sum(g A) / sum(A).

    Where A has both signs and nearly cancels, the denominator is kept `_FLOOR` sum(|A|) away from
    zero on the side where it is, so that no channel outweighs the rest without reason.
    """
    terms = g * a
    total, size = a.sum(-1), torch.linalg.vector_norm(a, 1, dim=-1)
    under = torch.copysign(torch.maximum(total.abs(), _FLOOR * size), total)
    under = torch.where(size == 0, 1.0, under)  # a silent channel has terms 0 and weight 0
    weights = terms.sum(-1) / under
    doubt = torch.linalg.vector_norm(terms, 1, dim=-1) + weights.abs() * size
    return weights, doubt / under.abs()
