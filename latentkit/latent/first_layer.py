"""The layer that a latent enters first, as a matrix: what SeFa factorises."""

import torch
from torch import Tensor, nn

from latentkit.protocols import Decode

_LINEAR = (
    nn.Linear,
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


@torch.no_grad()
def first_weight(decode: Decode, module: nn.Module, z: Tensor) -> Tensor:
    """The matrix of the first linear layer or convolution that a decoder sends its latent through.

    Found by watching one decoding: the first layer called whose input has as many numbers as the
    latent. The matrix is what the layer does to the unit vectors without its bias, so that
    stride, padding, groups and a reparametrised weight count as they act. Where the decoder
    normalises the latent before that layer, the matrix belongs to the normalised latent.

    Args:
        decode: latents (N, D) -> images (N, C, *S); runs `module`, in eval mode.
        module: the network, or an `nn.ModuleList` of networks, to look in.
        z: (D,) or (1, D), any latent.

    Returns:
        (M, D) with M the size of the layer's output, in z's dtype and on its device.

    Raises:
        ValueError: if no such layer is called.
    """
    point = z.detach().reshape(1, -1)
    layer, shape = _first(decode, module, point)
    units = torch.eye(point.shape[1], dtype=z.dtype, device=z.device).reshape(-1, *shape)
    bias = layer(torch.zeros_like(units[:1]))
    rows: Tensor = (layer(units) - bias).flatten(1)
    return rows.T.contiguous()


def _first(decode: Decode, module: nn.Module, z: Tensor) -> tuple[nn.Module, tuple[int, ...]]:
    """The layer, and the shape of one sample of its input."""
    called: list[tuple[nn.Module, tuple[int, ...]]] = []

    def keep(layer: nn.Module, args: tuple[object, ...]) -> None:
        if len(args) == 1 and isinstance(args[0], Tensor) and len(args[0]) == 1:
            called.append((layer, tuple(args[0].shape[1:])))

    layers = [layer for layer in module.modules() if isinstance(layer, _LINEAR)]
    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        decode(z)
    finally:
        for hook in hooks:
            hook.remove()
    fitting = [(layer, shape) for layer, shape in called if _size(shape) == z.shape[1]]
    if not fitting:
        raise ValueError(
            f"expected a linear layer or convolution that takes a latent of {z.shape[1]} numbers, "
            f"got {len(layers)} such layers, of which {len(called)} were called with inputs of "
            f"other sizes ({sorted({_size(shape) for _, shape in called})}); give sefa the weight"
        )
    return fitting[0]


def _size(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()
