"""Grad-CAM of latentkit and its peers in one form, each called as its README says."""

import importlib
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from latentkit.explain.cam import cams

Pick: TypeAlias = Callable[[Tensor], Tensor]
"""One sample's output -> what is explained, one number."""
Side: TypeAlias = Callable[..., list[Tensor]]
"""(network, names of layers, images (N, C, *S), pick, method) -> maps (N, *S), one a layer."""

PACKAGES = {
    "captum": "captum",
    "torchcam": "torchcam",
    "grad-cam": "pytorch_grad_cam",
    "pythae": "pythae",
    "tensorboard": "tensorboard",
}
"""Each peer's distribution, and the module that it installs."""


def installed() -> dict[str, str | None]:
    """The version of each peer; None, with a word, for one that cannot be imported."""
    found: dict[str, str | None] = {}
    for package, module in PACKAGES.items():
        try:
            importlib.import_module(module)
            found[package] = metadata.version(package)
        except ImportError:
            print(f"{package} is not installed: what the JSON says of it stays as it was")
            found[package] = None
    return found


def latentkit(
    net: nn.Module, layers: Sequence[str], x: Tensor, pick: Pick, method: str = "grad-cam"
) -> list[Tensor]:
    """Ours; a score is one of the whole batch."""

    def score(output: Tensor) -> Tensor:
        return torch.stack([pick(row) for row in output])

    return [heatmap.raw for heatmap in cams(net, layers, x, score, method)]  # type: ignore[arg-type]


def captum(
    net: nn.Module, layers: Sequence[str], x: Tensor, pick: Pick, method: str = "grad-cam"
) -> list[Tensor]:
    """captum, which has Grad-CAM alone."""
    from captum.attr import LayerGradCam

    def forward(images: Tensor) -> Tensor:
        return torch.stack([pick(row) for row in net(images)])

    parts = [net.get_submodule(layer) for layer in layers]
    found = LayerGradCam(forward, parts[0] if len(parts) == 1 else parts).attribute(x)
    return [maps[:, 0].detach() for maps in (found if isinstance(found, tuple) else (found,))]


def torchcam(
    net: nn.Module, layers: Sequence[str], x: Tensor, pick: Pick, method: str = "grad-cam"
) -> list[Tensor]:
    """torchcam, without its normalisation."""
    from torchcam import methods

    kind = getattr(methods, {"grad-cam": "GradCAM", "grad-cam++": "GradCAMpp"}[method])
    with kind(net, list(layers)) as extractor:
        return [maps.detach() for maps in extractor(targets=pick, scores=net(x), normalized=False)]


def grad_cam(
    net: nn.Module, layers: Sequence[str], x: Tensor, pick: Pick, method: str = "grad-cam"
) -> list[Tensor]:
    """pytorch-grad-cam, which always normalises and resizes."""
    import pytorch_grad_cam as peer

    kind = {"grad-cam": peer.GradCAM, "grad-cam++": peer.GradCAMPlusPlus}[method]
    with kind(net, [net.get_submodule(layer) for layer in layers]) as explainer:
        return [torch.as_tensor(explainer(x, [pick] * len(x)))]


SIDES: dict[str, Side] = {
    "latentkit": latentkit,
    "captum": captum,
    "torchcam": torchcam,
    "grad-cam": grad_cam,
}


def one(side: Side, net: nn.Module, x: Tensor, pick: Pick, **settings: Any) -> Tensor:
    """The maps (N, *S) of a network's layer "0"."""
    return side(net, [settings.pop("layer", "0")], x, pick, **settings)[0].float()
