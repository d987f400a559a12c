"""Mix two latents inside any decoder: take a part of one layer's activation from the second.

Without styles (`latentkit.latent.style`) the layers form one stream, and swapping a layer's whole
output just gives the other image. So a mask chooses the part to swap: some channels, or a region.
"""

import difflib
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from latentkit.latent.render import pairs
from latentkit.protocols import Decode

Region: TypeAlias = Literal["left", "right", "top", "bottom"]
"""A half of an activation's last two axes."""


def activation_layers(module: nn.Module) -> list[str]:
    """Dotted names of the layers that `mix_activations` can look for, in order of definition.

    Containers that are never called (ModuleList, ModuleDict) are left out.
    """
    idle = (nn.ModuleList, nn.ModuleDict)
    return [n for n, layer in module.named_modules() if n and not isinstance(layer, idle)]


def activation_shape(decode: Decode, module: nn.Module, layer: str, z: Tensor) -> tuple[int, ...]:
    """Shape (C, *S) of one sample's activation at a layer: what a mask must fit.

    Args:
        decode: latents (N, *Z) -> images (N, C, *S).
        module: the network that `decode` runs.
        layer: dotted name inside `module`.
        z: (N, *Z), any latents.

    Raises:
        ValueError: if the layer is unknown or not reached.
    """
    with torch.no_grad():
        return tuple(_record(decode, module, layer, z)[0].shape[1:])


def mix_activations(
    decode: Decode, module: nn.Module, layer: str, a: Tensor, b: Tensor, mask: Tensor
) -> Tensor:
    """Decode `a` while a part of one layer's output is what it is for `b`.

    "Activation mixing", for decoders without styles; compare Collins et al., "Editing in Style",
    CVPR 2020 (arXiv 2004.14367). What comes after the layer follows the blend. With a mask of ones
    and no path around the layer the result is decode(b), with zeros decode(a).

    Args:
        decode: latents (N, *Z) -> images (N, C, *S); runs `module`, in eval mode.
        module: the network to mix in.
        layer: dotted name inside `module`, as `activation_layers` lists them.
        a: (N, *Z) latents.
        b: (N, *Z) latents.
        mask: broadcasts to one sample's activation (C, *S); 1 takes `b`, 0 keeps `a`, and between
            blends. See `channel_mask` and `region_mask`.

    Returns:
        Images (N, C, *S).

    Raises:
        ValueError: if the shapes do not fit, the mask leaves [0, 1], or the layer is unknown, not
            reached, or gives no tensor.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"expected latents of one shape, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if mask.numel() == 0 or not ((mask >= 0) & (mask <= 1)).all():
        raise ValueError("expected a mask with values in [0, 1], 1 to take from b")
    calls = iter(_record(decode, module, layer, b))

    def blend(_module: nn.Module, _args: object, own: Tensor) -> Tensor:
        other = next(calls, None)
        if other is None or other.shape != own.shape:
            raise ValueError(f"expected layer {layer!r} to do for a what it does for b")
        _check_fits(mask, own.shape[1:], layer)
        weight = mask.to(own)
        return (1 - weight) * own + weight * other

    with _find(module, layer).register_forward_hook(blend):
        return decode(a)


def activation_grid(
    decode: Decode, module: nn.Module, layer: str, z_rows: Tensor, z_cols: Tensor, mask: Tensor
) -> Tensor:
    """Every row's image, with a part of every column's activation at one layer.

    Args:
        decode: latents (N, *Z) -> images (N, C, *S); runs `module`, in eval mode.
        module: the network to mix in.
        layer: dotted name inside `module`.
        z_rows: (R, *Z) latents that keep the rest.
        z_cols: (K, *Z) latents that give the part.
        mask: as for `mix_activations`.

    Returns:
        Images (R, K, C, *S).

    Raises:
        ValueError: as `mix_activations` does.
    """
    rows, cols = pairs(z_rows, z_cols)
    images = mix_activations(decode, module, layer, rows, cols, mask)
    return images.reshape(len(z_rows), len(z_cols), *images.shape[1:])


def channel_mask(shape: Sequence[int], share: float, seed: int = 0) -> Tensor:
    """A mask of randomly chosen channels; a larger share of the same seed contains a smaller.

    Args:
        shape: (C, *S) of one sample's activation, from `activation_shape`.
        share: of the C channels, in [0, 1], rounded to whole channels.
        seed: of the choice.

    Returns:
        (C, 1, ..., 1), 1 at the chosen channels.

    Raises:
        ValueError: if the share is outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share of the channels in [0, 1], got {share}")
    order = torch.randperm(shape[0], generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(shape[0])
    mask[order[: round(share * shape[0])]] = 1
    return mask.reshape(-1, *[1] * (len(shape) - 1))


def region_mask(shape: Sequence[int], region: Region) -> Tensor:
    """A mask of one half of the activation's space; opposite halves add up to 1.

    Args:
        shape: (C, *S) of one sample's activation, from `activation_shape`.
        region: "left" or "right" half of the last axis, "top" or "bottom" of the one before.

    Returns:
        (1, *S), 1 inside.

    Raises:
        ValueError: if the region is unknown, or its axis is missing or shorter than 2.
    """
    if region not in get_args(Region):
        raise ValueError(f"expected region to be one of {get_args(Region)}, got {region!r}")
    axis = -1 if region in {"left", "right"} else -2
    if len(shape) <= -axis or shape[axis] < 2:
        raise ValueError(
            f"expected an activation (C, *S) that can be halved for region={region!r}, got shape "
            f"{tuple(shape)}; choose another layer, or channel_mask"
        )
    size = shape[axis]
    first = (torch.arange(size) < size // 2).float()
    half = first if region in {"left", "top"} else 1 - first
    half = half if axis == -1 else half[:, None]
    return half.expand(1, *shape[1:]).clone()


def _record(decode: Decode, module: nn.Module, layer: str, z: Tensor) -> list[Tensor]:
    """What a layer gives while z is decoded, one tensor for each time it is called."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: object) -> None:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"expected layer {layer!r} to give a tensor, got {type(output).__name__}"
            )
        outputs.append(output.clone())  # the next layer may work in place

    with _find(module, layer).register_forward_hook(keep):
        decode(z)
    if not outputs:
        raise ValueError(f"layer {layer!r} was not reached: does decode run this module?")
    return outputs


def _find(module: nn.Module, layer: str) -> nn.Module:
    layers: dict[str, nn.Module] = dict(module.named_modules(remove_duplicate=False))
    if not layer or layer not in layers:
        near = difflib.get_close_matches(layer, activation_layers(module), n=3, cutoff=0)
        raise ValueError(f"expected the name of a layer, got {layer!r}; the nearest are {near}")
    return layers[layer]


def _check_fits(mask: Tensor, shape: torch.Size, layer: str) -> None:
    """A mask may be smaller than the activation, but must not enlarge it."""
    sizes = zip(reversed(mask.shape), reversed(shape), strict=False)
    if mask.ndim > len(shape) or any(m not in {1, s} for m, s in sizes):
        raise ValueError(
            f"expected a mask that broadcasts to {tuple(shape)}, the activation of one sample at "
            f"layer {layer!r}, got shape {tuple(mask.shape)}"
        )
