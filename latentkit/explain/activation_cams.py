"""Maps from the activations of one layer alone, without a gradient.

CAM: Zhou et al., CVPR 2016 (arXiv 1512.04150), for networks that end in global average pooling and
a linear layer. Eigen-CAM: Muhammad and Yeasin, IJCNN 2020 (arXiv 2008.00299), which explains no
score: it shows what dominates the layer.
"""

import torch
from torch import Tensor, nn

from latentkit.explain.heatmap import Heatmap
from latentkit.explain.hooks import watched
from latentkit.explain.weighing import check_space, combine


def class_activation_map(
    module: nn.Module,
    layer: str | nn.Module,
    x: Tensor,
    weight: Tensor,
    target: int | Tensor,
    call: int | None = None,
) -> Heatmap:
    """CAM: the layer's activations, summed with the weights that a linear head gives its channels.

    Args:
        module: the network; it comes back as it was.
        layer: dotted name or sub-module that gives (N, C, *S_layer), just before the pooling.
        x: input (N, C, *S).
        weight: of the head, (K, C), such as `net.fc.weight`; of a convolution, (K, C, 1, ...).
        target: row of the class or latent unit; or one for each sample, (N,).
        call: which call of the layer, from 0, where one forward pass runs it several times.

    Returns:
        Signed maps (N, *S_layer) of the layer.

    Raises:
        ValueError, TypeError: see `hooks.watched`; or a layer without space; or weights or targets
            that do not fit.
    """
    name, activation = _activation(module, layer, x, call)
    n, channels = activation.shape[:2]
    head = weight.detach().to(activation.device).flatten(1)
    rows = torch.as_tensor(target, device=head.device).expand(n)
    if head.shape[1] != channels:
        raise ValueError(
            f"expected a head's weight with one column for each channel of layer {name!r},"
            f" (K, {channels}), got {tuple(weight.shape)}"
        )
    if not ((rows >= 0) & (rows < len(head))).all():
        raise ValueError(f"expected targets from 0 to {len(head) - 1}, got {rows.tolist()}")
    weights = head[rows]
    maps, noise = combine(activation, weights, torch.zeros_like(weights))
    score = f"class {target}" if isinstance(target, int) else None
    return Heatmap(maps.float(), name, "cam", noise.float(), score)


def eigen_cam(
    module: nn.Module, layer: str | nn.Module, x: Tensor, call: int | None = None
) -> Heatmap:
    """Eigen-CAM: the layer's activations, projected on their first right singular vector.

    Activations are not centred, as in the paper. A singular vector has no sign: the map's sum over
    space is made positive, which is arbitrary where activations have both signs.

    Args:
        module: the network; it comes back as it was.
        layer: dotted name or sub-module that gives (N, C, *S_layer).
        x: input (N, C, *S).
        call: which call of the layer, from 0, where one forward pass runs it several times.

    Returns:
        Signed maps (N, *S_layer) of the layer; of no score.

    Raises:
        ValueError, TypeError: see `hooks.watched`; or a layer without space.
    """
    name, activation = _activation(module, layer, x, call)
    a = activation.to(torch.promote_types(activation.dtype, torch.float32)).flatten(2)
    fine = a.isfinite().all(2).all(1)[:, None]  # one bad sample would stop the decomposition of all
    _, strength, places = torch.linalg.svd(a.where(fine[..., None], 0.0), full_matrices=False)
    maps = strength[:, :1] * places[:, 0]
    maps = torch.where(maps.sum(1, keepdim=True) < 0, -maps, maps).where(fine, torch.nan)
    noise = 4 * torch.finfo(activation.dtype).eps * strength[:, 0]
    shape = (len(a), *activation.shape[2:])
    return Heatmap(maps.reshape(shape).float(), name, "eigen-cam", noise.float())


def _activation(
    module: nn.Module, layer: str | nn.Module, x: Tensor, call: int | None
) -> tuple[str, Tensor]:
    with watched(module, [layer], x, call) as run:
        check_space(run.activations[0], run.layers[0])
        return run.layers[0], run.activations[0].detach()
