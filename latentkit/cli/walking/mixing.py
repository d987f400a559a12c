"""How `latentkit mix` mixes: by styles where the model has them, else by hidden activations."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentkit.cli.named.sources import Source
from latentkit.latent.activations import (
    Region,
    activation_grid,
    activation_layers,
    activation_shape,
    channel_mask,
    region_mask,
)
from latentkit.latent.style import parse_layers, style_grid
from latentkit.protocols import StyleDecoder
from latentkit.store.identity import modules_in


@torch.no_grad()
def mixed_images(
    source: Source, kept: Tensor, given: Tensor, layers: Sequence[str] | None, region: Region | None
) -> tuple[Tensor, str]:
    """Mixes every kept latent with every given one.

    Args:
        source: the model.
        kept: (R, *Z).
        given: (K, *Z).
        layers: names; None for the coarse styles, or for the middle layer of the network.
        region: half of the feature map to take; None for half of the channels.

    Returns:
        Images (R, K, C, *S) and a sentence that says how they were mixed.

    Raises:
        ValueError: the model has neither styles nor modules, or not such layers.
    """
    kept, given = kept.to(source.device), given.to(source.device)
    model = source.model
    if isinstance(model, StyleDecoder):
        if region is not None:
            raise ValueError("--region is for models without styles; this one mixes by --layers")
        count = model.to_styles(kept[:1]).shape[1]
        chosen = parse_layers(layers or ["coarse"], count)
        return style_grid(model, kept, given, chosen).cpu(), f"style mixing of layers {chosen}"
    network = _network(source)
    layer = _one_layer(layers) or _middle(source, network, kept[:1])
    mask = _mask(activation_shape(model.decode, network, layer, kept[:1]), region)
    images = activation_grid(model.decode, network, layer, kept, given, mask)
    part = f"the {region} half" if region else "half of the channels"
    return images.cpu(), f"activation mixing of {part} at layer {layer}"


def _network(source: Source) -> nn.Module:
    """The model itself, or the networks that an object holds, as 0, 1, ..."""
    if isinstance(source.model, nn.Module):
        return source.model
    networks = modules_in(source.model)
    if not networks:
        raise ValueError(
            "expected a model with to_styles and from_styles, or one that is or holds nn.Modules, "
            f"got {source.name}"
        )
    return nn.ModuleList(networks)


def _one_layer(layers: Sequence[str] | None) -> str | None:
    if layers is None:
        return None
    if len(layers) > 1:
        raise ValueError(
            f"expected the name of one layer for activation mixing, got {list(layers)}"
        )
    return layers[0]


def _mask(shape: tuple[int, ...], region: Region | None) -> Tensor:
    return channel_mask(shape, 0.5) if region is None else region_mask(shape, region)


def _middle(source: Source, network: nn.Module, z: Tensor) -> str:
    """The first layer, in order of execution, whose activation has the coarsest spatial size."""
    best: tuple[int, str] | None = None
    for name in activation_layers(network):
        try:
            shape = activation_shape(source.model.decode, network, name, z)
        except ValueError:
            continue  # not on the way from latent to image
        if len(shape) > 1 and (best is None or shape[-1] < best[0]):
            best = (shape[-1], name)
    if best is None:
        raise ValueError(f"{source.name} has no layer with a spatial activation: give --layers")
    return best[1]
