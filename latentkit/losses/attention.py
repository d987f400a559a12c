"""Attention of latent units, as something that training can change: where does the encoder look?

Liu et al., "Towards Visually Explaining Variational Autoencoders", CVPR 2020 (arXiv 1911.07389):
latent units whose attention maps lie in different places are to be less entangled. To look at maps
take `latentkit.explain.cam`, which needs no graph of the gradient.
"""

import torch
from torch import Tensor


def attention_maps(units: Tensor, activation: Tensor) -> Tensor:
    """Grad-CAM of latent units, differentiable: M = |sum_c mean(g_c) A_c|.

    A is the activation of a layer, g the gradient of the unit by it, its mean over space. The
    gradient is part of the graph, so that a loss of the maps trains also what lies after the layer;
    a batch norm there mixes the images of a batch.

    The paper cuts maps at zero, its authors' code takes the absolute value, as here: the sign of a
    latent unit is arbitrary, and a cut map shares nothing once it is empty. Training finds that at
    once: with maps cut at zero it emptied half of them and left their absolute values as they were.

    Args:
        units: (N, M) latents, one column a unit, computed from the activation.
        activation: (N, C, *S), with its graph.

    Returns:
        (N, M, *S), 0 or more, at least float32.

    Raises:
        ValueError: if the shapes are others, or a unit does not depend on the activation.
    """
    if units.ndim != 2 or activation.ndim < 3 or len(units) != len(activation):
        raise ValueError(
            "expected units (N, M) and an activation (N, C, *S) of the same images, got"
            f" {tuple(units.shape)} and {tuple(activation.shape)}"
        )
    return torch.stack([_map(units[:, k], activation) for k in range(units.shape[1])], 1)


def attention_overlap(a: Tensor, b: Tensor) -> Tensor:
    """How much two attention maps of the same image share, on average over images.

    The attention disentanglement loss, eq. 5: 2 sum min(A, B) / sum (A + B), sums over places. An
    image that one of the units finds nothing in counts as nothing shared.

    Args:
        a: (N, *S), 0 or more.
        b: (N, *S), 0 or more.

    Returns:
        Scalar in [0, 1]: 0 for maps in different places, 1 for equal ones.

    Raises:
        ValueError: if the maps are not of one shape (N, *S).

    >>> attention_overlap(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0.0, 1.0, 1.0]]))
    tensor(0.5000)
    """
    if a.shape != b.shape or a.ndim < 2:
        raise ValueError(
            f"expected two maps of one shape (N, *S), got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    shared = 2 * torch.minimum(a, b).flatten(1).sum(1)
    total = (a + b).flatten(1).sum(1)
    some = total > 0  # an image with both maps empty is 0, without a gradient, and not 0 / 0
    return (torch.where(some, shared, 0.0) / torch.where(some, total, 1.0)).mean()


def _map(unit: Tensor, activation: Tensor) -> Tensor:
    """Unit (N,), activation (N, C, *S) -> map (N, *S)."""
    slope = None
    if unit.requires_grad and activation.requires_grad:
        (slope,) = torch.autograd.grad(unit.sum(), activation, create_graph=True, allow_unused=True)
    if slope is None:
        raise ValueError(
            "expected units that were computed from the activation, with a graph, got others"
        )
    wide = torch.promote_types(activation.dtype, torch.float32)
    a, g = activation.to(wide).flatten(2), slope.to(wide).flatten(2)
    # A product and a sum: a matrix product would fall to half precision under autocast.
    signed: Tensor = (g.mean(2, keepdim=True) * a).sum(1)
    return signed.abs().reshape(len(a), *activation.shape[2:])
